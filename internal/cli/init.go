package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/sketch"
)

// sketchFlags are what `cortex init` and `cortex run` can be told of an API.
type sketchFlags struct {
	name, cpu, mem string
	port           int32
	gpu            int64
	concurrency    int64
	least, most    int32
	env            []string
}

func (f *sketchFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "name", "", "name of the api (default: made of what it is)")
	cmd.Flags().Int32Var(&f.port, "port", 0, "port that the image listens on (default 8080)")
	cmd.Flags().StringArrayVar(&f.env, "var", nil, "a variable, as NAME=VALUE; may be repeated")
	cmd.Flags().StringVar(&f.cpu, "cpu", "", "cores that one replica requests, such as 2 or 500m")
	cmd.Flags().StringVar(&f.mem, "mem", "", "memory that one replica requests, such as 2Gi")
	cmd.Flags().Int64Var(&f.gpu, "gpu", 0, "gpus of one replica")
	cmd.Flags().Int64Var(&f.concurrency, "concurrency", 0, "requests that one replica works on at once (default 8)")
	cmd.Flags().Int32Var(&f.least, "min", 0, "min_replicas (default 1)")
	cmd.Flags().Int32Var(&f.most, "max", 0, "max_replicas (default 4)")
}

// apply writes what was said into s.
func (f *sketchFlags) apply(cmd *cobra.Command, s *sketch.Sketch) error {
	for _, pair := range f.env {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return fault.New(fault.Usage, "cli.wrong_flag", "--var %s is not of the form NAME=VALUE", pair)
		}
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		s.Env[key] = value
	}
	if f.port != 0 && s.Image == "" {
		return fault.New(fault.Usage, "cli.wrong_flag", "--port is of an image; a process is told its port, in CORTEX_PORT").
			WithHint("write $(CORTEX_PORT) in the command, in quotes")
	}
	s.Name = orElse(f.name, s.Name)
	s.CPU, s.Mem, s.GPU, s.Concurrency = f.cpu, f.mem, f.gpu, f.concurrency
	if f.port != 0 {
		s.Port = f.port
	}
	if cmd.Flags().Changed("min") {
		s.Min = &f.least
	}
	if cmd.Flags().Changed("max") {
		s.Max = &f.most
	}
	return nil
}

func (a *app) initCommand() *cobra.Command {
	var f sketchFlags
	var image string
	cmd := &cobra.Command{
		Use:   "init [DIR] [-- COMMAND...]",
		Short: "write a first cortex.yaml",
		Long: "Write a first cortex.yaml into a folder (default: this one), for what is in it, for an\n" +
			"image, or for a command that starts a server. In a folder it looks for " + strings.Join(sketch.Signs()[:3], ", ") + "\n" +
			"and their like. On a terminal it asks for what it cannot tell. It never overwrites a file.",
		Example: "  cortex init\n" +
			"  cortex init iris -- python3 serve.py\n" +
			"  cortex init --image quay.io/team/iris:1.0 --port 9000",
		Args: beforeDash(between(0, "DIR")),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			words, command := atDash(cmd, args)
			dir := "."
			if len(words) > 0 {
				dir = words[0]
			}
			return a.init(cmd, dir, sketch.Sketch{Image: image, Command: command}, f)
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "an image that has the server")
	f.add(cmd)
	return cmd
}

// atDash divides arguments at "--".
func atDash(cmd *cobra.Command, args []string) (words, command []string) {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return args[:at], args[at:]
	}
	return args, nil
}

// beforeDash checks the arguments before "--".
func beforeDash(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		words, _ := atDash(cmd, args)
		return check(cmd, words)
	}
}

func (a *app) init(cmd *cobra.Command, dir string, s sketch.Sketch, f sketchFlags) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	file := filepath.Join(path, "cortex.yaml")
	if _, err := os.Lstat(file); err == nil {
		return exists(file)
	}
	if s, err = a.sketchOf(cmd.Context(), path, s); err != nil {
		return err
	}
	if err := f.apply(cmd, &s); err != nil {
		return err
	}
	header := "`cortex deploy` brings this up; every key is in docs/file.md."
	if s.First != "" {
		header += "\nFirst: " + s.First
	}
	text, err := checked(s, header)
	if err != nil {
		return err
	}
	if err := create(file, text); err != nil {
		return err
	}
	if s.Found != "" {
		a.say("found %s", s.Found)
	}
	a.say("wrote %s", filepath.Join(dir, "cortex.yaml"))
	a.say("")
	for _, next := range []string{s.First, "cortex deploy" + inFolder(dir)} {
		if next != "" {
			a.say("%s", next)
		}
	}
	return nil
}

func inFolder(dir string) string {
	if filepath.Clean(dir) == "." {
		return ""
	}
	return " " + filepath.Join(dir, "cortex.yaml")
}

// sketchOf completes what was asked for with what is in the folder, or with answers.
func (a *app) sketchOf(ctx context.Context, path string, s sketch.Sketch) (sketch.Sketch, error) {
	if s.Image != "" || len(s.Command) > 0 {
		s.Name = sketch.NameFor(filepath.Base(path))
		return s, nil
	}
	found, ok, err := sketch.Look(os.DirFS(path), filepath.Base(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		err = fault.New(fault.NotFound, "cli.unreadable_file", "%w", err)
	}
	if err != nil || ok {
		return found, err
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return s, fault.New(fault.NotFound, "cli.unreadable_file", "%s is not a folder", path)
	}
	if _, asks := terminal(a.streams.In); !asks {
		return s, fault.New(fault.Usage, "cli.nothing_to_init", "nothing in %s tells how its server is started; looked for %s", path, strings.Join(sketch.Signs(), ", ")).
			WithHint("say it: `cortex init -- python3 serve.py`, or `cortex init --image IMAGE`")
	}
	s.Name = sketch.NameFor(filepath.Base(path))
	answer, err := a.ask(ctx, "what starts your server? $(CORTEX_PORT) is its port (empty: an image):", false)
	if err != nil {
		return s, err
	}
	if s.Command = strings.Fields(answer); len(s.Command) > 0 {
		return s, nil
	}
	if s.Image, err = a.ask(ctx, "which image?", false); err == nil && s.Image == "" {
		err = errAtPrompt()
	}
	return s, err
}

// checked is the file of s, if it passes every rule: what is wrong with it somebody typed.
func checked(s sketch.Sketch, header string) (string, error) {
	text := s.YAML(header)
	if _, err := manifest.Parse("cortex.yaml", []byte(text)); err != nil {
		problems := fault.From(err)
		words := problems.Message
		if len(problems.Problems) > 0 {
			words = problems.Problems[0].Path + ": " + problems.Problems[0].Message
			if hint := problems.Problems[0].Hint; hint != "" {
				words += " (" + hint + ")"
			}
		}
		return "", fault.New(fault.Usage, "cli.wrong_arguments", "that makes no api: %s", words).WithHint("see `cortex init --help`")
	}
	return text, nil
}

func exists(file string) error {
	return fault.New(fault.Conflict, "cli.file_exists", "%s exists already", file).
		WithHint("edit it, or name another folder; `cortex run --file` prints a file")
}

// create writes a file that is not there yet.
func create(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return exists(file)
	}
	if err != nil {
		return fault.New(fault.Invalid, "cli.unwritable_file", "%w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fault.New(fault.Invalid, "cli.unwritable_file", "writing %s: %w", file, err)
	}
	return nil
}
