package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/trust"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) clusterExportCommand() *cobra.Command {
	var env, file string
	var keys keyFlags
	var t clusterTarget
	var yes bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "write what is deployed as a file that `cortex deploy` takes",
		Long: "Write every API as it was deployed last, as one file that `cortex deploy` takes: to move it to\n" +
			"another cluster, or to have it back. With --env it is what an environment has, whichever kind it\n" +
			"is of; otherwise what a cluster on AWS has, whose operator is found by the account.\n\n" +
			"Not in it are values of secrets, code of processes, and numbers of replicas that\n" +
			"`cortex scale` has set.",
		Example: "  cortex cluster export --name iris --region us-west-2\n" +
			"  cortex cluster export --env staging --file - > staging.yaml",
		Args: exactly(),
		RunE: a.cloudWork(func(cmd *cobra.Command, _ []string) error {
			a.verbatim = true // a file has what was deployed, to the letter
			if env != "" {
				if t != (clusterTarget{}) {
					return fault.New(fault.Usage, "cli.wrong_flag", "--env is one way to say what is exported, and --name, --region and --config are the other: give one")
				}
				found, err := a.connect(cmd.Context(), env, pretty, refuse)
				if err != nil {
					return err
				}
				return a.export(cmd.Context(), found, either(file, "export-"+env+".yaml"))
			}
			if err := t.resolve(a); err != nil {
				return err
			}
			found, err := a.operatorOf(cmd.Context(), &keys, t, yes)
			if err != nil {
				return err
			}
			return a.export(cmd.Context(), found, either(file, "export-"+t.region+"-"+t.name+".yaml"))
		}),
	}
	a.envFlag(cmd, &env)
	t.add(cmd)
	keys.add(cmd)
	cmd.Flags().StringVar(&file, "file", "", "file to write, which must not be there; - is standard output (default: export-REGION-NAME.yaml)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	return cmd
}

// operatorOf reaches the operator of a cluster on AWS, of which no environment has to know.
func (a *app) operatorOf(ctx context.Context, keys *keyFlags, t clusterTarget, yes bool) (*target, error) {
	cloud, err := a.cloud(ctx, keys, t.name, t.region, yes)
	if err != nil {
		return nil, err
	}
	s, err := cloud.Info(ctx, t.name)
	if err != nil {
		return nil, err
	}
	return a.operatorAt(ctx, s)
}

// operatorAt reaches the operator of a cluster by what is known of it.
func (a *app) operatorAt(ctx context.Context, s *cluster.Status) (*target, error) {
	if s.Operator == "" || s.Authority == "" {
		return nil, errNotWhole(s.ClusterName)
	}
	return a.reach(ctx, environments.Environment{
		Name: s.ClusterName, OperatorEndpoint: s.Operator, Anchor: trust.Anchor{CAData: base64.StdEncoding.EncodeToString([]byte(s.Authority))},
	}, refuse)
}

// codeNotWhole is the code of a cluster that lacks what a command is about.
const codeNotWhole = "clusterstate.not_whole"

func errNotWhole(name string) error {
	return fault.New(fault.Unavailable, codeNotWhole, "cluster %s has no operator yet", name).WithHint("`cortex cluster up FILE` makes it whole")
}

// export writes everything that is deployed in an environment.
func (a *app) export(ctx context.Context, t *target, file string) error {
	apis, err := t.List(ctx)
	if err != nil {
		return err
	}
	var all []any
	for _, kind := range workload.Kinds() { // what splits traffic after what it splits it between
		for _, api := range apis {
			if api.Metadata == nil || api.Metadata.Kind != kind {
				continue
			}
			found, err := t.Get(ctx, api.Metadata.Name)
			if err != nil {
				return err
			}
			one, err := exported(&found)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return fault.New(fault.NotFound, codeNotDeployed, "nothing is deployed in %s that could be exported", t.Name)
	}
	text, err := toYAML(all)
	if err != nil {
		return err
	}
	if file == "-" {
		_, err := a.streams.Out.Write(text)
		return err
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	a.say("wrote %s to %s; `cortex deploy %s` deploys it", count(len(all), "api"), file, file)
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // variables may hold passwords
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Usage, "cli.file_exists", "%s is there already, and is not written over", file).WithHint("move it away, or name another with --file")
	}
	if err != nil {
		return fault.New(fault.Usage, "cli.cannot_write_file", "writing the export: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fault.New(fault.Unavailable, "cli.cannot_write_file", "writing %s: %w", file, err)
	}
	return nil
}

// exported is an API as a file has it: as it was submitted, with the variables of files that
// only who submitted it has, and stopped where somebody has stopped it since.
func exported(api *workload.APIResponse) (any, error) {
	name := api.Metadata.Name
	if api.Spec == nil {
		return nil, fault.New(fault.Conflict, "cli.not_exportable", "%s has no specification that was taken: it was refused", name).
			WithHint("delete it, or deploy it right, then export again")
	}
	keys, ok := api.Spec.SubmittedAPISpec.(map[string]any)
	if !ok {
		return nil, fault.New(fault.Unexpected, "cli.not_exportable", "the environment does not say what %s was deployed from", name)
	}
	if masked(&api.Spec.Revision) {
		return nil, fault.New(fault.Forbidden, "cli.not_exportable", "you may not see the values of the variables of %s, and a file without them would deploy something else", name).
			WithHint("who may deploy it may see them")
	}
	if err := withoutFiles(keys, api.Spec.Pod); err != nil {
		return nil, fmt.Errorf("exporting %s: %w", name, err)
	}
	if api.Status != nil && api.Status.Stopped != nil {
		keys["stopped"] = true
	}
	return orderedKeys(keys)
}

// masked reports whether the values of an API's variables are not shown.
func masked(r *workload.Revision) bool {
	if r.Pod == nil {
		return false
	}
	for _, c := range r.Pod.Containers {
		for _, v := range c.Env {
			if v.Value == workload.Masked {
				return true
			}
		}
	}
	return false
}

// withoutFiles puts the variables of each container's files where they were read to.
func withoutFiles(keys map[string]any, pod *workload.Pod) error {
	section, _ := keys["pod"].(map[string]any)
	containers, _ := section["containers"].([]any)
	for i, each := range containers {
		c, _ := each.(map[string]any)
		if c["env_file"] == nil {
			continue
		}
		if pod == nil || i >= len(pod.Containers) {
			return fault.New(fault.Unexpected, "cli.not_exportable", "container %d has a file of variables, and nothing says what was in it", i)
		}
		delete(c, "env_file")
		env := map[string]any{}
		for name, v := range pod.Containers[i].Env {
			env[name] = v.Value
			if v.Secret != "" {
				env[name] = map[string]any{"secret": v.Secret}
			}
		}
		c["env"] = env
	}
	return nil
}
