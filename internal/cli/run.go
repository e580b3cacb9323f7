package cli

import (
	"os"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/sketch"
	"cortex.dev/cortex/internal/workload"
)

// runFile is the file name of what `cortex run` deployed: it tells it from what has a file.
const runFile = "cortex run"

func (a *app) runCommand() *cobra.Command {
	var o deployOptions
	var f sketchFlags
	var print bool
	cmd := &cobra.Command{
		Use:   "run [IMAGE] [-- COMMAND...]",
		Short: "deploy an image or a command without a file",
		Long: "Deploy an API without a file, and wait until it is live: an image, with another command if\n" +
			"one is given, or a command that runs in this folder. Running the same again changes it;\n" +
			"`--file` prints the cortex.yaml that it stands for, to keep.",
		Example: "  cortex run -- python3 -m http.server '$(CORTEX_PORT)'\n" +
			"  cortex run quay.io/team/iris:1.0 --port 9000 --min 0\n" +
			"  cortex run quay.io/team/iris:1.0 --file > cortex.yaml",
		Args:              beforeDash(between(0, "IMAGE")),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			words, command := atDash(cmd, args)
			s := sketch.Sketch{Command: command}
			switch {
			case len(words) > 0:
				s.Image, s.Name = words[0], sketch.NameOfImage(words[0])
			case len(command) > 0:
				s.Name = sketch.NameOfCommand(command)
			default:
				return fault.New(fault.Usage, "cli.wrong_arguments", "missing IMAGE or -- COMMAND").WithHint("usage: %s", cmd.UseLine())
			}
			if err := f.apply(cmd, &s); err != nil {
				return err
			}
			return a.runSketch(cmd, s, print, o)
		},
	}
	a.waitFlags(cmd, &o)
	f.add(cmd)
	cmd.Flags().BoolVar(&print, "file", false, "print the cortex.yaml and deploy nothing")
	return cmd
}

func (a *app) runSketch(cmd *cobra.Command, s sketch.Sketch, print bool, o deployOptions) error {
	text, err := checked(s, "")
	if err != nil {
		return err
	}
	if print {
		_, err := a.streams.Out.Write([]byte(text))
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if s.Image == "" {
		if err := noTopLevel(dir, a.getenv("HOME"), "what it runs"); err != nil {
			return err
		}
	}
	t, err := a.connect(cmd.Context(), o.env, o.out, start)
	if err != nil {
		return err
	}
	// What has a file is not replaced by a few words.
	api, err := t.Get(cmd.Context(), s.Name)
	switch {
	case fault.Code(err) == codeNotDeployed:
	case err != nil:
		return err
	case api.Spec != nil && api.Spec.FileName != runFile:
		return fault.New(fault.Conflict, "cli.name_taken", "%s is deployed already, from %s", s.Name, orElse(api.Spec.FileName, "a file")).
			WithHint("give this one another name with --name, or change that one in its file")
	}
	o.yes, o.env = true, t.Name
	return a.deployRequest(cmd.Context(), workload.DeployRequest{FileName: runFile, Directory: dir, Config: text}, o)
}
