package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/migrate"
)

// Bounds of what `cortex migrate` reads.
const (
	maxMigratedFiles = 10_000
	maxMigratedBytes = 1 << 20 // of each
)

func (a *app) migrateCommand() *cobra.Command {
	var out output
	var write bool
	cmd := &cobra.Command{
		Use:   "migrate [DIR|FILE]...",
		Short: "say what becomes of the files of an earlier release",
		Long: "Look at files of APIs and clusters, jobs, cli.yaml and scripts of cortex 0.18 to 0.42 (default:\n" +
			"all in the current folder), and say of each what works as it is, what is to be done and what is\n" +
			"impossible yet, with file and line. They are known by their content.\n\n" +
			"With --write what can be written is written into the folder migrated, which must not be there:\n" +
			"what runs apart from what does not, values of the chart for a cluster file, and for APIs of\n" +
			"releases before 0.36 the draft of a container. The files themselves are never changed.",
		Example: "  cortex migrate\n" +
			"  cortex migrate --write\n" +
			"  cortex migrate deploy.sh ~/.cortex/cli.yaml -o json",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeFiles(0),
		RunE: func(_ *cobra.Command, args []string) error {
			files, larger, err := migrated(args)
			if err != nil {
				return err
			}
			report := migrate.Plan(files)
			for _, path := range larger {
				report.Findings = append(report.Findings, migrate.Finding{
					Path: path, Line: 1, State: migrate.ToDo, Text: "has more than 1 MiB, and was not looked at", Do: "if it is a file of Cortex, name it: cortex migrate " + path,
				})
			}
			if write {
				if err := writeMigrated(report.Out); err != nil {
					return err
				}
			}
			if out != pretty {
				return a.print(out, report)
			}
			a.sayMigrated(report, write)
			return nil
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "write new files into the folder migrated")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) sayMigrated(report *migrate.Report, written bool) {
	for _, f := range report.Findings {
		do := ""
		if f.Do != "" {
			do = a.paint.dim(" (" + f.Do + ")")
		}
		a.say("%s:%d: %s: %s%s", f.Path, f.Line, a.paint.bold(string(f.State)), f.Text, do)
	}
	if len(report.Findings) == 0 {
		a.say("nothing of an earlier release was found")
	}
	for _, f := range report.Out {
		if written {
			a.say("wrote %s", f.Path)
		}
	}
	if len(report.Out) > 0 && !written {
		a.say("%s can be written with --write", count(len(report.Out), "file"))
	}
}

// migrated reads the files that the arguments of `cortex migrate` name. Larger are those of
// a folder that are not read, because they are too large for what anybody writes.
func migrated(args []string) (files []migrate.File, larger []string, err error) {
	add := func(path string) error {
		if len(files) == maxMigratedFiles {
			return fault.New(fault.Invalid, "cli.too_many_files", "there are more than %d files", maxMigratedFiles).WithHint("name a folder with fewer")
		}
		data, err := manifest.Read(path)
		if err != nil {
			return err
		}
		files = append(files, migrate.File{Path: filepath.ToSlash(path), Data: data})
		return nil
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, arg := range args {
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			if err := add(arg); err != nil { // it says what is wrong with the path
				return nil, nil, err
			}
			continue
		}
		err := filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != arg && passedOver(d.Name()):
				return fs.SkipDir
			case !d.Type().IsRegular() || !mayMigrate(d.Name()):
				return nil
			}
			info, err := d.Info()
			if err == nil && info.Size() > maxMigratedBytes {
				larger = append(larger, path)
				return nil
			}
			if err != nil {
				return err
			}
			return add(path)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return files, larger, nil
}

// passedOver are folders in which nobody keeps what is migrated.
func passedOver(name string) bool {
	known := []string{migrate.Folder, "node_modules", "venv", "__pycache__"}
	return slices.Contains(known, name) || strings.HasPrefix(name, ".") && name != ".github" && name != ".circleci"
}

// mayMigrate reports whether a file is text that an earlier release, or a script for it, had.
func mayMigrate(name string) bool {
	whole := []string{"Makefile", "Jenkinsfile", "requirements.txt", "conda-packages.txt"}
	return slices.Contains(whole, name) || slices.Contains([]string{".yaml", ".yml", ".json", ".sh", ".bash", ".py", ".mk"}, filepath.Ext(name))
}

// writeMigrated writes files below a folder that is not there yet.
func writeMigrated(files []migrate.File) error {
	if len(files) == 0 {
		return nil
	}
	if err := os.Mkdir(migrate.Folder, 0o755); err != nil {
		return fault.New(fault.Conflict, "cli.migrated_exists", "the folder %s cannot be made: %w", migrate.Folder, err).
			WithHint("move it away; what was written before is never overwritten")
	}
	root, err := os.OpenRoot(migrate.Folder) // whatever a file says, nothing is written beside it
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		name := filepath.FromSlash(strings.TrimPrefix(f.Path, migrate.Folder+"/"))
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("writing %s: %w", f.Path, err)
		}
		if err := root.WriteFile(name, f.Data, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", f.Path, err)
		}
	}
	return nil
}
