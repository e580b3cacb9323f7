package cli

import (
	"bytes"
	"fmt"
	"io"

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
				err = zshCompletion(w, root)
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

// zshCompletion writes a script that works both ways: in a folder of completion
// functions, for which its first line has to stay the first, and sourced, for
// which it has to start the completion system where nobody has.
func zshCompletion(w io.Writer, root *cobra.Command) error {
	var script bytes.Buffer
	if err := root.GenZshCompletion(&script); err != nil {
		return err
	}
	first, rest, _ := bytes.Cut(script.Bytes(), []byte("\n"))
	_, err := fmt.Fprintf(w, "%s\n(( $+functions[compdef] )) || { autoload -U compinit && compinit -i }\n%s", first, rest)
	return err
}
