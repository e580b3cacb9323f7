package cli

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/hostconfig"
)

func (a *app) localVerifyCommand() *cobra.Command {
	var out output
	var dir string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "compare what is kept on this machine with its checksums",
		Long: "Read every record of the state, of items and of jobs, the payloads and results of items that\n" +
			"have files of their own, and the files of jobs, and compare them with their checksums. The\n" +
			"environment may run or not; nothing is changed. The exit code is 1 when something is damaged.\n" +
			"What damaged items become with the next start is in docs/async.md.",
		Example: "  cortex local verify\n" +
			"  cortex local verify --state-dir /var/lib/cortex -o json",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.hooks.Verify == nil {
				return errors.New("this program cannot read the state of the local environment")
			}
			if dir == "" {
				dir = a.daemon.Files().StateDir
			}
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			v, err := a.hooks.Verify(cmd.Context(), abs)
			if err != nil {
				return err
			}
			if out != pretty {
				err = a.print(out, v)
			} else {
				a.sayIntact(v)
			}
			if err == nil && len(v.Damaged)+v.More > 0 {
				return errReported
			}
			return err
		},
	}
	addOutputFlag(cmd, &out)
	cmd.Flags().StringVar(&dir, "state-dir", "", "another state folder, such as that of a server (default: that of the local environment)")
	_ = cmd.MarkFlagDirname("state-dir")
	return cmd
}

func (a *app) sayIntact(v hostconfig.Verified) {
	what := strings.Join([]string{count(v.Records, "record"), count(v.Contents, "large content"), "the files of " + count(v.Jobs, "job")}, ", ")
	if len(v.Damaged)+v.More == 0 {
		a.say("%s: nothing is damaged (%s)", v.StateDir, what)
		return
	}
	t := table{headers: []string{"what", "api", "name", "file", "problem"}}
	for _, d := range v.Damaged {
		t.rows = append(t.rows, []string{orElse(d.What, "-"), orElse(d.API, "-"), orElse(d.Name, "-"), d.File, d.Problem})
	}
	a.say("%s: %s (of %s)", v.StateDir, a.paint.red(count(len(v.Damaged)+v.More, "thing")+" damaged"), what)
	t.write(a.streams.Out, a.paint)
	if v.More > 0 {
		a.say("and %d more", v.More)
	}
}
