package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) installCommand() *cobra.Command {
	return a.changeCommand(&cobra.Command{
		Use:   "install",
		Short: "install cortex on a Kubernetes cluster",
		Long: "Install Cortex on any Kubernetes cluster of version 1.29 or newer. First everything is looked\n" +
			"at that could stand in the way: the version, your rights, DNS, what is there already. Then the\n" +
			"chart, which is in this program, is installed, and its programs are waited for.",
		Example: "  cortex install --account-id 123456789012 --region us-west-2\n" +
			"  cortex install --values values.yaml --set gateway.replicas=3 --context staging\n" +
			"  cortex install --account-id 123456789012 --region us-west-2 --dry-run > cortex-objects.yaml",
	}, "installed", func(h *ClusterHooks) changeHook { return h.Install })
}

func (a *app) upgradeCommand() *cobra.Command {
	return a.changeCommand(&cobra.Command{
		Use:   "upgrade",
		Short: "bring an installation on a Kubernetes cluster to this version",
		Long: "Bring an installation to the version of this program, and to other values. Values that are not\n" +
			"given stay as they are. What is deployed goes on serving: gateways are replaced one by one, and\n" +
			"pods of APIs are not restarted.",
		Example: "  cortex upgrade\n" +
			"  cortex upgrade --set gateway.replicas=4",
	}, "upgraded to", func(h *ClusterHooks) changeHook { return h.Upgrade })
}

// changeHook writes an installation.
type changeHook = func(context.Context, ClusterConfig) (ClusterInfo, error)

// changeCommand completes a command that writes an installation; done says what it did.
func (a *app) changeCommand(cmd *cobra.Command, done string, hook func(*ClusterHooks) changeHook) *cobra.Command {
	var f clusterFlags
	var values valueFlags
	var out output
	var yes bool
	cmd.Args = exactly()
	cmd.RunE = a.clusterWork(func(cmd *cobra.Command, hooks *ClusterHooks) error {
		cfg := f.config(a)
		if err := values.fill(&cfg); err != nil {
			return err
		}
		if values.dryRun {
			return a.sayObjects(hooks, cfg)
		}
		if err := a.sure(cmd.Context(), hooks, cfg, cmd.Name()+" cortex", yes); err != nil {
			return err
		}
		cfg.Progress = a.progress()
		info, err := hook(hooks)(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		return a.sayInstalled(out, info, done)
	})
	f.add(cmd)
	values.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &out)
	return cmd
}

// sayObjects prints what would be written.
func (a *app) sayObjects(hooks *ClusterHooks, cfg ClusterConfig) error {
	text, err := hooks.Render(cfg)
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write([]byte(text))
	return err
}

// sayInstalled tells what those need who use the installation.
func (a *app) sayInstalled(out output, info ClusterInfo, done string) error {
	if out != pretty {
		return a.print(out, info)
	}
	a.say("\n%s cortex %s in namespace %s", done, info.Version, info.Namespace)
	row := func(name, value string) { a.say("  %s %s", a.paint.dim(pad(name, 18)), value) }
	const none = "no address yet; `cortex cluster health` says when there is one"
	row("operator endpoint", either(info.Endpoint, none))
	row("apis", either(info.APIs, none))
	if info.Fingerprint != "" {
		row("certificate", info.Fingerprint)
	}
	line := "cortex env configure " + info.ClusterName + " --operator-endpoint " + either(info.Endpoint, "https://ADDRESS")
	if info.Fingerprint != "" {
		line += " --fingerprint " + info.Fingerprint
	}
	a.say("\nClients: %s", line)
	return nil
}

func either(text, otherwise string) string {
	if text != "" {
		return text
	}
	return otherwise
}
