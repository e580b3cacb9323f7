package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "list and delete the volumes that one machine keeps",
		Long: "List and delete the volumes that one machine keeps. A volume is made when an API first\n" +
			"mounts it, and stays when the API is deleted:\n\n" +
			"  pod:\n" +
			"    volumes: [{name: cache, persistent_volume_claim: hf-cache}]\n" +
			"    containers:\n" +
			"    - volume_mounts: [{name: cache, mount_path: /cache}]\n\n" +
			"On Kubernetes they are the cluster's own: `kubectl get persistentvolumeclaims`.",
		Example: "  cortex volume list",
	}
	cmd.AddCommand(a.volumeListCommand(), a.volumeDeleteCommand())
	return cmd
}

func (a *app) volumeListCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list volumes",
		Long:    "List volumes: which APIs mount each, and its folder on this machine.",
		Example: "  cortex volume list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			all, err := t.Volumes(cmd.Context())
			if err != nil {
				return err
			}
			if out != pretty {
				if all == nil {
					all = []workload.VolumeInfo{}
				}
				return a.print(out, all)
			}
			if len(all) == 0 {
				a.say("there are no volumes; an API that mounts one makes it")
				return nil
			}
			list := table{headers: []string{"name", "used by"}}
			if all[0].Path != "" {
				list.headers = append(list.headers, "folder")
			}
			for _, v := range all {
				row := []string{v.Name, orElse(strings.Join(v.UsedBy, ", "), "-")}
				if v.Path != "" {
					row = append(row, v.Path)
				}
				list.rows = append(list.rows, row)
			}
			list.write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) volumeDeleteCommand() *cobra.Command {
	var env string
	var out output
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "delete a volume and everything in it",
		Long: "Delete a volume and everything in it, for good, so that is asked for first. While\n" +
			"an API that is deployed mounts it, or a replica still has it, that is refused.",
		Example:           "  cortex volume delete hf-cache",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.volumeNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			if !yes {
				yes, err = a.confirm(cmd.Context(), "delete the volume %s and everything in it?", args[0])
				if err == nil && !yes {
					err = fault.New(fault.Conflict, "cli.not_confirmed", "%s was not deleted", args[0])
				}
				if err != nil {
					return err
				}
			}
			m, err := t.DeleteVolume(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.sayMessage(out, m)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &out)
	return cmd
}

// volumeNames completes the first argument with the names of volumes.
func (a *app) volumeNames(env *string) cobra.CompletionFunc {
	return a.completingFirst(env, func(ctx context.Context, t *target) (names []string, err error) {
		all, err := t.Volumes(ctx)
		for _, each := range all {
			names = append(names, each.Name)
		}
		return names, err
	})
}
