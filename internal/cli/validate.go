package cli

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// validated is what `cortex validate -o json` says of one file.
type validated struct {
	File     string          `json:"file"`
	Valid    bool            `json:"valid"`
	APIs     []validatedAPI  `json:"apis"`
	Cluster  string          `json:"cluster,omitempty"` // its name, where the file is of a cluster
	Problems []fault.Problem `json:"problems"`
	Warnings []fault.Problem `json:"warnings,omitempty"`
	fault    error
}

type validatedAPI struct {
	Name      string              `json:"name"`
	Kind      workload.Kind       `json:"kind"`
	Schedules []validatedSchedule `json:"schedules,omitempty"`
}

// validatedSchedule says when a schedule is due.
type validatedSchedule struct {
	Name string      `json:"name"`
	When string      `json:"when"`
	Next []time.Time `json:"next"` // the next five times, in its time zone
}

func (a *app) validateCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "validate [CONFIG_FILE|-]...",
		Short: "check files without deploying them",
		Long: "Check files (default: cortex.yaml) against every rule that does not depend on what is\n" +
			"deployed, and list all problems with their positions. Needs no environment. A file of a cluster\n" +
			"is recognised by its keys and checked as such.",
		Example: "  cortex validate\n" +
			"  cortex validate cluster.yaml\n" +
			"  cortex validate a.yaml b.yaml -o json",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeFiles(0),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"cortex.yaml"}
			}
			return a.validate(args, out)
		},
	}
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) validate(files []string, out output) error {
	failed := false
	var all []validated
	for _, file := range files {
		v := a.validateFile(file)
		failed = failed || !v.Valid
		all = append(all, v)
	}
	if out != pretty {
		if err := a.print(out, all); err != nil {
			return err
		}
	}
	for _, v := range all {
		if out == pretty {
			a.warn(v.Warnings)
		}
		switch {
		case !v.Valid:
			a.printError(v.fault)
		case out == pretty && v.Cluster != "":
			a.say("%s: cluster %s, no problems", v.File, v.Cluster)
		case out == pretty:
			a.say("%s: %s, no problems", v.File, count(len(v.APIs), "api"))
			a.sayNext(v.APIs)
		}
	}
	if failed {
		return errReported
	}
	return nil
}

func (a *app) validateFile(file string) validated {
	v := validated{File: file, APIs: []validatedAPI{}, Problems: []fault.Problem{}}
	var data []byte
	if file == "-" {
		v.File = "standard input"
		data, v.fault = io.ReadAll(io.LimitReader(a.streams.In, workload.MaxConfigBytes+1))
	} else {
		data, v.fault = manifest.Read(file)
	}
	if v.fault == nil && manifest.SortOf(data) == manifest.Cluster {
		v.ofCluster(data)
	} else if v.fault == nil {
		v.ofAPIs(data)
	}
	if v.Valid = v.fault == nil; v.Valid {
		return v
	}
	f := fault.From(v.fault)
	v.Problems = f.Problems
	if len(v.Problems) == 0 {
		v.Problems = []fault.Problem{{File: v.File, Code: f.Code, Message: f.Message, Hint: f.Hint}}
	}
	return v
}

func (v *validated) ofAPIs(data []byte) {
	var parsed *manifest.File
	if parsed, v.fault = manifest.ParseWith(v.File, data, manifest.Beside(filepath.Dir(v.File))); v.fault == nil {
		v.Warnings = parsed.Warnings
		for _, e := range parsed.Entries {
			v.APIs = append(v.APIs, validatedAPI{e.Spec.Name, e.Spec.Kind, comingOf(&e.Spec, time.Now())})
		}
	}
}

// comingOf says when the schedules of an API are due next.
func comingOf(spec *workload.Spec, now time.Time) (list []validatedSchedule) {
	for i := range spec.Schedules {
		s := &spec.Schedules[i]
		times, err := s.Times()
		if err != nil {
			continue // it is valid, so that it has times
		}
		next := times.Coming(now, 5)
		for j := range next {
			next[j] = times.In(next[j])
		}
		list = append(list, validatedSchedule{s.Name, s.When(), next})
	}
	return list
}

func (a *app) sayNext(apis []validatedAPI) {
	for _, api := range apis {
		for _, s := range api.Schedules {
			var next []string
			for _, t := range s.Next {
				next = append(next, t.Format(timeFormat))
			}
			a.say("  %s %s: %s: next %s", api.Name, s.Name, s.When, strings.Join(next, ", "))
		}
	}
}

func (v *validated) ofCluster(data []byte) {
	var parsed *manifest.ClusterFile
	if parsed, v.fault = manifest.ParseCluster(v.File, data); v.fault == nil {
		v.Cluster, v.Warnings = parsed.Config.ClusterName, parsed.Warnings
	}
}

// warn says what of a file means less, or something else, than it says.
func (a *app) warn(warnings []fault.Problem) {
	paint := newPainter(a.streams.Err, a.getenv)
	for _, w := range warnings {
		a.note("%s%s", paint.yellow("warning: "), w)
	}
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [COMMAND]",
		Short: "print the JSON Schema of cortex.yaml, or of what a command prints",
		Long: "Print the JSON Schema of cortex.yaml, from which editors know its keys; or that of what a\n" +
			"command prints with -o json.\n\n" +
			"Editors that use the YAML language server take it from a comment at the top of the file:\n" +
			"# yaml-language-server: $schema=./cortex.schema.json",
		Example: "  cortex schema > cortex.schema.json\n" +
			"  cortex schema get\n" +
			"  cortex schema env list",
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return wordsAfter(args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			schema := manifest.Schema()
			if len(args) > 0 {
				var err error
				if schema, err = schemaOf(args); err != nil {
					return err
				}
			}
			_, err := a.streams.Out.Write(schema)
			return err
		},
	}
}

// schemaOf is the schema of what the command named by words prints.
func schemaOf(words []string) ([]byte, error) {
	command := "cortex " + strings.TrimPrefix(strings.Join(words, " "), "cortex ")
	answer, ok := answers[command]
	if !ok {
		return nil, fault.New(fault.Usage, "cli.no_such_schema", "no command %q prints JSON", strings.TrimPrefix(command, "cortex ")).
			WithHint("those that do: %s", strings.Join(commandsWithData(), ", "))
	}
	return answer.schema(command)
}

// commandsWithData are the commands that print JSON, without the name of the program.
func commandsWithData() []string {
	var all []string
	for command := range answers {
		all = append(all, strings.TrimPrefix(command, "cortex "))
	}
	slices.Sort(all)
	return all
}

// wordsAfter are the words of such commands that follow the ones given.
func wordsAfter(given []string) []string {
	var next []string
	for _, command := range commandsWithData() {
		words := strings.Fields(command)
		if len(words) > len(given) && slices.Equal(words[:len(given)], given) {
			next = append(next, words[len(given)])
		}
	}
	slices.Sort(next)
	return slices.Compact(next)
}
