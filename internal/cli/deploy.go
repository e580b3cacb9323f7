package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

const defaultDeployTimeout = 15 * time.Minute

type deployOptions struct {
	env      string
	out      output
	force    bool
	dryRun   bool
	noWait   bool
	noVerify bool
	yes      bool
	timeout  time.Duration
}

func (a *app) deployCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "deploy [CONFIG_FILE]",
		Short: "create or update apis",
		Long: "Create or update the APIs of a file (default: cortex.yaml), and wait until they are live.\n\n" +
			"An API whose specification has not changed is left alone. An update is rolled out\n" +
			"replica by replica; one that does not become ready never takes traffic, and the\n" +
			"command says why. An API at zero starts one replica of the new version to prove that.",
		Example: "  cortex deploy\n" +
			"  cortex deploy iris/cortex.yaml --no-wait\n" +
			"  cortex deploy --dry-run -o json",
		Args: between(0, "CONFIG_FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "cortex.yaml"
			if len(args) > 0 {
				file = args[0]
			}
			return a.deploy(cmd.Context(), file, len(args) == 0, o)
		},
		ValidArgsFunction: completeFiles(1),
	}
	a.envFlag(cmd, &o.env)
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "override the in-progress api update")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would happen and change nothing")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as the change is accepted")
	cmd.Flags().BoolVar(&o.noVerify, "no-verify", false, "leave an api at zero there; its first request tries the new version")
	cmd.Flags().DurationVar(&o.timeout, "timeout", defaultDeployTimeout, "how long to wait for the apis to be live")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &o.out)
	return cmd
}

// sureOfFolder asks on a terminal before an API is taken over from another folder: a
// second clone of a project deploys under the names of the first.
func (a *app) sureOfFolder(ctx context.Context, t *target, req workload.DeployRequest) error {
	req.DryRun = true
	planned, err := t.Deploy(ctx, req)
	moved := movedFolder(planned)
	if err != nil || moved == "" {
		return err
	}
	ok, err := a.confirm(ctx, "%s; go on?", moved)
	if err == nil && !ok {
		err = fault.New(fault.Conflict, "cli.not_confirmed", "nothing was deployed").
			WithHint("give the API another name in %s to have both", req.FileName)
	}
	return err
}

// movedFolder says which API comes from another folder than before; empty: none.
func movedFolder(results []workload.DeployResult) string {
	for _, r := range results {
		for _, d := range r.Differences {
			if d.Path == "directory" && d.From != "" {
				return fmt.Sprintf("%s was deployed from %s, and comes from %s now", r.Name, d.From, d.To)
			}
		}
	}
	return ""
}

func (a *app) deploy(ctx context.Context, file string, byDefault bool, o deployOptions) error {
	req, err := readDeployRequest(file, byDefault, a.getenv("HOME"))
	if err != nil {
		return err
	}
	return a.deployRequest(ctx, req, o)
}

// deployRequest deploys what was read, waits for it and says what became of it.
func (a *app) deployRequest(ctx context.Context, req workload.DeployRequest, o deployOptions) error {
	req.Force, req.DryRun, req.NoVerify = o.force, o.dryRun, o.noVerify
	c, err := a.configuration()
	if err != nil {
		return err
	}
	env, err := c.Choose(o.env)
	if err != nil {
		return err
	}
	parsed, _, err := parseToSend(&req)
	switch {
	case err == nil && o.out == pretty:
		a.warn(parsed.Warnings)
	case err != nil && env.IsLocal():
		return err // nothing is started for a file that cannot be deployed; elsewhere the operator judges
	}
	if env.IsLocal() {
		if o.out == pretty {
			a.warn(beyondMachine(parsed, thisMachine()))
		}
		req.Path = callersPath(a.getenv("PATH"))
	}
	t, err := a.connect(ctx, o.env, o.out, start)
	if err != nil {
		return err
	}
	_, asks := terminal(a.streams.In)
	asks = asks && env.IsLocal() && !o.dryRun && !o.yes
	if asks {
		if err := a.sureOfFolder(ctx, t, req); err != nil {
			return err
		}
	}
	results, err := t.Deploy(ctx, req)
	if err != nil {
		return err
	}
	if moved := movedFolder(results); moved != "" && env.IsLocal() && !o.dryRun && !asks {
		a.note("%s", moved)
	}
	outcome := a.tellRefused(results)
	if o.out == pretty {
		a.sayPrograms(results)
		a.sayInPlace(results)
	}
	if !o.noWait && !o.dryRun {
		err := newWaiter(a, t, o).wait(ctx, results)
		if ctx.Err() != nil {
			return err
		}
		outcome = errors.Join(outcome, err)
	}
	if o.out != pretty {
		if err := a.print(o.out, results); err != nil {
			return err
		}
	} else {
		a.sayDeployed(results, o)
	}
	return outcome
}

// tellRefused tells which APIs were not deployed, and returns errReported when
// there are any.
func (a *app) tellRefused(results []workload.DeployResult) error {
	var outcome error
	for _, r := range results {
		if r.Error != "" {
			a.printError(fault.New(fault.Conflict, r.Code, "%s", strings.TrimPrefix(r.Error, "error: ")))
			outcome = errReported
		}
	}
	return outcome
}

// sayDeployed prints the messages of the results, and what to type next.
func (a *app) sayDeployed(results []workload.DeployResult, o deployOptions) {
	var names []string
	for _, r := range results {
		if r.Error != "" {
			continue
		}
		if o.noWait || o.dryRun {
			a.say("%s", r.Message)
			if o.dryRun {
				a.sayDifferences(r)
			}
		}
		names = append(names, apiName(r.API))
	}
	if len(names) == 0 || o.dryRun {
		return
	}
	name := names[0]
	a.say("")
	rows := [][2]string{{"cortex get", "(show api statuses)"}}
	if len(names) > 1 {
		name = "API_NAME"
	}
	rows = append(rows,
		[2]string{"cortex get " + name, "(show api info)"},
		[2]string{"cortex logs " + name, "(show api logs)"})
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		a.say("%s   %s", pad(r[0], width), a.paint.dim(r[1]))
	}
	a.sayEndpoints(results)
}

// maxShown bounds what is shown of a value, such as a container that is new.
const maxShown = 120

// sayDifferences says what a deploy would change; an earlier operator tells the paths only.
func (a *app) sayDifferences(r workload.DeployResult) {
	if len(r.Differences) == 0 && len(r.Changes) > 0 {
		a.say("  changes: %s", strings.Join(r.Changes, ", "))
	}
	width := 0
	for _, d := range r.Differences {
		width = max(width, textWidth(d.Path))
	}
	value := func(text string) string {
		if runes := []rune(text); len(runes) > maxShown {
			text = string(runes[:maxShown]) + "…"
		}
		return orElse(text, "(none)")
	}
	for _, d := range r.Differences {
		if d.From == d.To { // only that they differ is known, as of variables
			a.say("  %s   changed", pad(d.Path, width))
			continue
		}
		a.say("  %s   %s → %s", pad(d.Path, width), value(d.From), value(d.To))
	}
}

// sayEndpoints says last where what was deployed is called.
func (a *app) sayEndpoints(results []workload.DeployResult) {
	results = slices.DeleteFunc(slices.Clone(results), func(r workload.DeployResult) bool {
		return r.Error != "" || r.API == nil || r.API.Endpoint == ""
	})
	width := 0
	for _, r := range results {
		width = max(width, textWidth(apiName(r.API)))
	}
	for i, r := range results {
		if i == 0 {
			a.say("")
		}
		a.say("%s   %s", a.paint.bold(pad(apiName(r.API), width)), r.API.Endpoint)
		if r.API.HostEndpoint != "" {
			a.say("%s   %s", pad("", width), r.API.HostEndpoint)
		}
	}
}

func apiName(api *workload.APIResponse) string {
	switch {
	case api == nil:
		return ""
	case api.Metadata != nil:
		return api.Metadata.Name
	case api.Spec != nil:
		return api.Spec.Name
	}
	return ""
}

// readDeployRequest reads the file to deploy. home is the user's home folder.
func readDeployRequest(file string, byDefault bool, home string) (workload.DeployRequest, error) {
	var req workload.DeployRequest
	path, err := filepath.Abs(file)
	if err != nil {
		return req, err
	}
	if _, err := os.Stat(path); byDefault && errors.Is(err, os.ErrNotExist) {
		return req, fault.New(fault.NotFound, "cli.cortex_yaml_not_found",
			"no api config file was specified, and ./cortex.yaml does not exist").
			WithHint("create cortex.yaml, or reference an existing config file by running `cortex deploy <config_file_path>`")
	}
	if err := noTopLevel(filepath.Dir(path), home, filepath.Base(file)); err != nil {
		return req, err
	}
	data, err := manifest.Read(path)
	if err != nil {
		return req, err
	}
	return workload.DeployRequest{FileName: file, Directory: filepath.Dir(path), Config: string(data)}, nil
}

// noTopLevel refuses folders from which nothing is deployed.
func noTopLevel(dir, home, file string) error {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if which := topLevel(dir, home); which != "" {
		return fault.New(fault.Invalid, "cli.deploy_from_top_level_dir",
			"cannot deploy from your %s directory, in which everything would belong to the API", which).
			WithHint("create a subdirectory for the project and move %s there", file)
	}
	return nil
}

// parseToSend reads the file of a deploy, and takes along the env files that it names.
// named are all of them, those that cannot be read too.
func parseToSend(req *workload.DeployRequest) (parsed *manifest.File, named []string, err error) {
	beside, files := manifest.Beside(req.Directory), map[string]string{}
	parsed, err = manifest.ParseWith(req.FileName, []byte(req.Config), func(path string) (string, error) {
		named = append(named, path)
		text, err := beside(path)
		if err == nil {
			files[path] = text
		}
		return text, err
	})
	if len(files) > 0 {
		req.EnvFiles = files
	}
	return parsed, named, err
}

// topLevel names the folder if it is one from which nothing is deployed.
func topLevel(dir, home string) string {
	if dir == "/" {
		return "root"
	}
	if home == "" {
		return ""
	}
	if real, err := filepath.EvalSymlinks(home); err == nil {
		home = real
	}
	if filepath.Clean(dir) == filepath.Clean(home) {
		return "$HOME"
	}
	return ""
}

// completeFiles completes the first n arguments with names of YAML files; every
// argument when n is 0.
func completeFiles(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if n > 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// summary is the state of an API in a few words: "live, 2/2 ready".
func summary(s *workload.Status) string {
	if s == nil {
		return "deployed"
	}
	text := fmt.Sprintf("%s, %d/%d ready", s.Phase, s.Ready, s.Requested)
	if s.UpToDate != s.Ready {
		text += fmt.Sprintf(", %d up to date", s.UpToDate)
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}
