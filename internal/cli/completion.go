package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "generate a script that completes commands, flags and api names",
		Long: "Generate a script for the completion of commands, flags, environments and API names,\n" +
			"also under the name cx.\n\n" +
			"  bash   add to ~/.bashrc:   source <(cortex completion bash)\n" +
			"  zsh    add to ~/.zshrc:    source <(cortex completion zsh)\n" +
			"  fish   add to config.fish: cortex completion fish | source",
		Example:   "  source <(cortex completion bash)",
		Args:      exactly("SHELL"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), a.streams.Out
			var err error
			alias := ""
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(w, true)
				alias = "alias cx='cortex'\ncomplete -o default -F __start_cortex cx\n"
			case "zsh":
				// Sourced, the script has to start the completion system by itself.
				fmt.Fprintln(w, "autoload -U compinit && compinit -i")
				err = root.GenZshCompletion(w)
				alias = "alias cx='cortex'\ncompdef cx=cortex\n"
			case "fish":
				err = root.GenFishCompletion(w, true)
				alias = "alias cx='cortex'\ncomplete -c cx -w cortex\n"
			default:
				return usage(fmt.Errorf("%q is not a shell that completion knows; one of bash, zsh, fish", args[0]))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(w, alias)
			return err
		},
	}
}
