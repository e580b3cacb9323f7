package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) getCommand() *cobra.Command {
	var env string
	var out output
	var watch, verbose bool
	cmd := &cobra.Command{
		Use:   "get [API_NAME [VERSION|JOB_ID]]",
		Short: "get information about apis",
		Long: "Get information about all APIs, about one, about one earlier version of one, or about a\n" +
			"job of a BatchAPI or TaskAPI.\n\n" +
			"Without a name and without --env, the APIs of every environment are shown.",
		Example: "  cortex get\n" +
			"  cortex get iris\n" +
			"  cortex get iris --watch",
		Args:              between(0, "API_NAME", "VERSION"),
		ValidArgsFunction: a.namesAndVersions(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				a.seen = rates{}
			}
			show := func(ctx context.Context, w io.Writer) error {
				switch {
				case len(args) == 2:
					return a.getVersion(ctx, w, env, out, args[0], args[1])
				case len(args) == 1:
					return a.getOne(ctx, w, env, out, verbose, args[0])
				case env == "":
					return a.getEverywhere(ctx, w, out)
				default:
					return a.getAll(ctx, w, env, out)
				}
			}
			return a.maybeWatch(cmd.Context(), watch, show)
		},
	}
	a.envFlag(cmd, &env)
	addWatchFlag(cmd, &watch)
	addOutputFlag(cmd, &out)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the configuration too")
	return cmd
}

// inEnvironment is what one environment has deployed, as `get -o json` says it.
type inEnvironment struct {
	EnvName string                 `json:"env_name"`
	APIs    []workload.APIResponse `json:"apis"`
	Error   string                 `json:"error"`
	fault   error
}

func (a *app) getEverywhere(ctx context.Context, w io.Writer, out output) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	var all []inEnvironment
	failed, apis := 0, 0
	for _, env := range c.All() {
		one := inEnvironment{EnvName: env.Name, APIs: []workload.APIResponse{}}
		t, err := a.reach(ctx, env, refuse)
		if fault.Code(err) == codeStopped && c.Find(environments.Local) == nil && len(c.Environments) > 0 {
			continue // who has other environments and never used this one does not miss it
		}
		var list []workload.APIResponse
		if err == nil {
			list, err = t.List(ctx)
		}
		if err != nil {
			one.fault, one.Error = err, err.Error()
			failed++
		} else if list != nil {
			one.APIs = list
			apis += len(list)
		}
		all = append(all, one)
	}
	if out != pretty {
		return a.printTo(w, out, all)
	}
	if failed == len(all) {
		return all[0].fault
	}
	if apis == 0 {
		fmt.Fprintln(w, a.paint.bold("no apis are deployed"))
	}
	writeLists(w, a.paint, all, len(all) > 1, time.Now(), a.seen)
	for _, one := range all {
		if one.fault != nil {
			fmt.Fprintf(w, "\nunable to detect apis from the %s environment; run `cortex get --env %s` if this is unexpected\n", one.EnvName, one.EnvName)
		}
	}
	return nil
}

func (a *app) getAll(ctx context.Context, w io.Writer, env string, out output) error {
	t, err := a.connect(ctx, env, out, refuse)
	if err != nil {
		return err
	}
	list, err := t.List(ctx)
	if err != nil {
		return err
	}
	if out != pretty {
		if list == nil {
			list = []workload.APIResponse{}
		}
		return a.printTo(w, out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, a.paint.bold("no apis are deployed"))
		return nil
	}
	writeLists(w, a.paint, []inEnvironment{{EnvName: t.Name, APIs: list}}, false, time.Now(), a.seen)
	return nil
}

func (a *app) getOne(ctx context.Context, w io.Writer, env string, out output, verbose bool, name string) error {
	t, err := a.connect(ctx, env, out, refuse)
	if err != nil {
		return err
	}
	api, err := t.Get(ctx, name)
	if err != nil {
		return err
	}
	if out != pretty {
		return a.printTo(w, out, []workload.APIResponse{api})
	}
	now := time.Now()
	if api.Spec != nil && api.Spec.Kind == workload.Splitter {
		targets, err := t.List(ctx)
		if err != nil {
			return err
		}
		splitTable(api, targets, now).write(w, a.paint)
		if c := api.Copies; c != nil {
			fmt.Fprintf(w, "\n%s %d answered, %d not made or not answered\n", a.paint.bold("copies for the shadow:"), c.Answered, c.Dropped)
		}
	} else {
		writeLists(w, a.paint, []inEnvironment{{EnvName: t.Name, APIs: []workload.APIResponse{api}}}, false, now, a.seen)
	}
	a.writeDetails(w, api, now)
	if verbose && api.Spec != nil {
		return a.writeConfiguration(w, &api.Spec.Revision)
	}
	return nil
}

// writeDetails writes what is known of one API beside its line in the list.
func (a *app) writeDetails(w io.Writer, api workload.APIResponse, now time.Time) {
	if api.DashboardURL != "" {
		fmt.Fprintf(w, "\n%s %s\n", a.paint.bold("metrics dashboard:"), api.DashboardURL)
	}
	if api.Endpoint != "" {
		fmt.Fprintf(w, "\n%s %s\n", a.paint.bold("endpoint:"), api.Endpoint)
	}
	if api.HostEndpoint != "" {
		fmt.Fprintf(w, "\n%s %s\n", a.paint.bold("host:"), api.HostEndpoint)
	}
	if code := codeNote(api); code != "" {
		fmt.Fprintf(w, "\n%s %s\n", a.paint.bold("code:"), code)
	}
	if jobs := slices.Concat(api.BatchJobStatuses, api.TaskJobStatuses); len(jobs) > 0 {
		fmt.Fprintln(w)
		jobTable(jobs, now, false).write(w, a.paint)
	}
	if len(api.APIVersions) > 0 {
		fmt.Fprintln(w)
		historyTable(api.APIVersions, now).write(w, a.paint)
	}
}

// codeNote says what is worth knowing of the code of an API. Mostly nothing is.
func codeNote(api workload.APIResponse) string {
	if api.Spec == nil || api.Spec.Code == nil {
		return ""
	}
	switch code := api.Spec.Code; {
	case code.InPlace != "":
		return fmt.Sprintf("runs in %s itself, as %s: what is saved there takes effect at the next restart", api.Spec.Directory, code.InPlace)
	case api.CodeChanged:
		return fmt.Sprintf("changed since v%d was deployed; `cortex refresh %s` takes it", code.Version, api.Spec.Name)
	}
	return ""
}

// versionShape is how people write versions, of which an API with jobs has some too.
var versionShape = regexp.MustCompile(`^v[0-9]+$`)

func (a *app) getVersion(ctx context.Context, w io.Writer, env string, out output, name, id string) error {
	t, err := a.connect(ctx, env, out, refuse)
	if err != nil {
		return err
	}
	if !versionShape.MatchString(id) {
		if api, err := t.Get(ctx, name); err == nil && hasJobs(api) {
			return a.getJob(ctx, w, t, out, name, id)
		}
	}
	api, err := t.Version(ctx, name, id)
	if err != nil {
		return err
	}
	if out != pretty {
		return a.printTo(w, out, []workload.APIResponse{api})
	}
	if api.Spec == nil {
		return fault.New(fault.Unexpected, "errors.unexpected", "the environment sent no specification of %s %s", name, id)
	}
	if n := api.Spec.Number; n > 0 {
		fmt.Fprintf(w, "%s v%d\n", a.paint.bold("version:"), n)
	}
	fmt.Fprintf(w, "%s %s\n", a.paint.bold("api id:"), api.Spec.ID)
	fmt.Fprintf(w, "%s %s\n", a.paint.bold("last deployed:"), time.Unix(api.Spec.LastUpdated, 0).Format(timeFormat))
	return a.writeConfiguration(w, &api.Spec.Revision)
}

// keyOrder is the order in which people write the keys of an API; a decoded
// document has lost its own.
var keyOrder = []string{"name", "kind", "apis", "pod", "node_groups", "networking", "autoscaling", "update_strategy"}

// orderedKeys are the keys of an API in the order in which people write them.
func orderedKeys(keys map[string]any) (*yaml.Node, error) {
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(keys)), func(key string) bool { return slices.Contains(keyOrder, key) })
	return inOrder(keys, slices.Concat(keyOrder, others))
}

// writeConfiguration writes the YAML that the user deployed.
func (a *app) writeConfiguration(w io.Writer, spec *workload.Revision) error {
	submitted := spec.SubmittedAPISpec
	if keys, ok := submitted.(map[string]any); ok {
		ordered, err := orderedKeys(keys)
		if err != nil {
			return err
		}
		submitted = ordered
	}
	text, err := toYAML([]any{submitted})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n\n%s", a.paint.bold("configuration"), text)
	return nil
}

func (a *app) printTo(w io.Writer, o output, v any) error {
	b := *a
	b.streams.Out = w
	return b.print(o, v)
}

// writeLists writes one table per kind, and below them why an API is not live.
func writeLists(w io.Writer, paint painter, envs []inEnvironment, withEnv bool, now time.Time, seen rates) {
	first := true
	for _, kind := range workload.Kinds() {
		t := listTable(kind, envs, paint, now, seen)
		if len(t.rows) == 0 {
			continue
		}
		if !withEnv {
			t = t.without("env")
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		t.write(w, paint)
	}
	var reasons bytes.Buffer
	for _, env := range envs {
		for _, api := range env.APIs {
			if r := api.Refused; r != nil && api.Metadata != nil {
				fmt.Fprintf(&reasons, "%s: %s was refused: %s\n", api.Metadata.Name, r.Resource, r.Message)
			}
			if s := api.Status; s != nil && s.Warning != "" && api.Metadata != nil {
				fmt.Fprintf(&reasons, "%s: %s\n", api.Metadata.Name, s.Warning)
			}
			if s := api.Status; s != nil && s.Reason != "" && s.Phase != workload.PhaseLive && api.Metadata != nil {
				fmt.Fprintf(&reasons, "%s is %s: %s\n", api.Metadata.Name, s.Phase, s.Reason)
			}
		}
	}
	if reasons.Len() > 0 {
		fmt.Fprintf(w, "\n%s", reasons.String())
	}
}

func listTable(kind workload.Kind, envs []inEnvironment, paint painter, now time.Time, seen rates) table {
	t := table{headers: map[workload.Kind][]string{
		workload.Batch:    {"env", "batch api", "running jobs", "latest job id", "last update"},
		workload.Task:     {"env", "task api", "running jobs", "latest job id", "last update"},
		workload.Realtime: {"env", "realtime api", "live (ready/requested)", "up-to-date", "last update", "status"},
		workload.Async:    {"env", "async api", "live (ready/requested)", "up-to-date", "last update", "status"},
		workload.Splitter: {"env", "traffic splitter", "apis", "last update"},
	}[kind]}
	watched := seen != nil && kind.Scales()
	for _, env := range envs {
		for _, api := range env.APIs {
			m := api.Metadata
			if m == nil || m.Kind != kind {
				continue
			}
			row := []string{env.EnvName, m.Name}
			switch s := api.Status; {
			case api.Refused != nil && m.ID == "": // nothing was ever deployed
				for len(row) < len(t.headers)-1 {
					row = append(row, "-")
				}
				row = append(row, paint.red("refused"))
			case kind == workload.Splitter:
				row = append(row, splitterTargets(api), sinceUnix(m.LastUpdated, now))
			case !kind.Scales():
				running, latest := 0, "-"
				for i, j := range slices.Concat(api.BatchJobStatuses, api.TaskJobStatuses) {
					if i == 0 {
						latest = j.JobID
					}
					if j.Status.InProgress() {
						running++
					}
				}
				row = append(row, strconv.Itoa(running), latest, sinceUnix(m.LastUpdated, now))
			case s == nil:
				row = append(row, "-", "-", sinceUnix(m.LastUpdated, now), "-")
			default:
				row = append(row, fmt.Sprintf("%d/%d", s.Ready, s.Requested), strconv.Itoa(s.UpToDate), sinceUnix(m.LastUpdated, now), phase(s.Phase, paint))
			}
			if watched {
				row = append(row, seen.columns(env.EnvName, api, now)...)
			}
			t.rows = append(t.rows, row)
		}
	}
	if watched { // a terminal of 80 columns has no room for all
		t.headers = append(t.headers, rateHeaders...)
		t = t.without("up-to-date").without("last update")
	}
	slices.SortStableFunc(t.rows, func(x, y []string) int {
		if x[0] != y[0] {
			return 0 // environments stay in the order of the file
		}
		return strings.Compare(x[1], y[1])
	})
	return t
}

func phase(p workload.Phase, paint painter) string {
	switch p {
	case workload.PhaseLive:
		return paint.green(string(p))
	case workload.PhaseFailed:
		return paint.red(string(p))
	case workload.PhaseUpdating, workload.PhaseDegraded:
		return paint.yellow(string(p))
	}
	return string(p)
}

func splitterTargets(api workload.APIResponse) string {
	switch {
	case api.NumTrafficSplitterTargets != nil:
		return strconv.Itoa(*api.NumTrafficSplitterTargets)
	case api.Spec != nil:
		return strconv.Itoa(len(api.Spec.APIs))
	}
	return "-"
}

// splitTable shows the targets of a splitter beside how they are doing.
func splitTable(api workload.APIResponse, all []workload.APIResponse, now time.Time) table {
	t := table{headers: []string{"apis", "weights", "live (ready/requested)", "up-to-date", "last update"}}
	for _, target := range api.Spec.APIs {
		weight := strconv.Itoa(int(target.Weight))
		if target.Shadow {
			weight += " (shadow)"
		}
		row := []string{target.Name, weight, "-", "-", "-"}
		for _, r := range all {
			if r.Metadata == nil || r.Metadata.Name != target.Name {
				continue
			}
			if s := r.Status; s != nil {
				row[2], row[3] = fmt.Sprintf("%d/%d", s.Ready, s.Requested), strconv.Itoa(s.UpToDate)
			}
			row[4] = sinceUnix(r.Metadata.LastUpdated, now)
		}
		t.rows = append(t.rows, row)
	}
	return t
}
