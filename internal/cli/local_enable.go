package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/autostart"
	"cortex.dev/cortex/internal/fault"
)

// systemPatience bounds one command of the system.
const systemPatience = 30 * time.Second

func (a *app) localEnableCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "enable",
		Short: "have the system start the local environment by itself",
		Long: "Have the system start the local environment when you log in, with everything that was\n" +
			"deployed: by a unit of your systemd on Linux, by an agent of launchd on macOS. It starts\n" +
			"now where it does not run. Doing it again writes what has changed since.",
		Example: "  cortex local enable",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.localEnable(cmd.Context()) },
	}
}

func (a *app) localDisableCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "disable",
		Short:   "no longer have the system start the local environment",
		Long:    "Undo `cortex local enable`. What runs goes on; `cortex local stop` stops it.",
		Example: "  cortex local disable",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.localDisable(cmd.Context()) },
	}
}

// autostart returns what is to be done on this machine, where it can be done.
func (a *app) autostart(ctx context.Context) (autostart.Plan, error) {
	program, err := os.Executable()
	if err != nil {
		return autostart.Plan{}, err
	}
	env := map[string]string{"CORTEX_CLI_CONFIG_DIR": a.configDir}
	for _, name := range []string{"PATH", "DOCKER_HOST"} { // what the local environment finds programs and Docker by
		if v := a.getenv(name); v != "" {
			env[name] = v
		}
	}
	plan, ok := autostart.For(autostart.Facts{
		System: runtime.GOOS, Home: a.getenv("HOME"), ConfigHome: a.getenv("XDG_CONFIG_HOME"), UID: os.Getuid(),
		Program: program, Env: env, Log: a.daemon.Files().Log,
	})
	if !ok || a.getenv("HOME") == "" {
		return plan, noAutostart("this system starts nothing for a user that is known here")
	}
	if _, err := a.system(ctx, plan.Ready); err != nil {
		return plan, noAutostart(fault.From(err).Message)
	}
	return plan, nil
}

func noAutostart(why string) error {
	return fault.New(fault.Unsupported, "local.no_autostart", "%s", why).
		WithHint("have whatever starts programs here run `cortex local run`: the command of a container, an init script, @reboot of cron; for a team, docs/server.md has a unit of systemd")
}

// system runs a command of the system and returns what it prints.
func (a *app) system(ctx context.Context, words []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, systemPatience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errs.String())
		return "", fault.New(fault.Unavailable, "local.system_refused", "`%s`: %s", strings.Join(words, " "), orElse(text, err.Error()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (a *app) systemAll(ctx context.Context, commands [][]string) error {
	for _, words := range commands {
		if _, err := a.system(ctx, words); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) localEnable(ctx context.Context) error {
	plan, err := a.autostart(ctx)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(plan.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, "cli.unreadable_file", "%w", err)
	}
	if string(before) != plan.Text {
		if err := writeUnit(plan.File, plan.Text); err != nil {
			return fault.New(fault.Invalid, "cli.unwritable_file", "%w", err)
		}
		a.say("wrote %s", plan.File)
	}
	if err := a.systemAll(ctx, plan.Enable); err != nil {
		return err
	}
	_, running, err := a.daemon.Running(ctx)
	if err != nil {
		return err
	}
	if !running {
		if _, err := a.system(ctx, plan.Start); err != nil {
			return err
		}
	}
	a.say("the local environment is started by the system from now on")
	if running {
		a.say("the one that runs goes on; after `cortex local stop` and `cortex local enable` it is the system's")
	}
	if len(plan.Lingers) > 0 {
		if lingers, err := a.system(ctx, plan.Lingers); err != nil || lingers != "yes" {
			a.say("%s", plan.Linger)
		}
	}
	return nil
}

func writeUnit(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return atomicfile.Replace(file, []byte(text))
}

func (a *app) localDisable(ctx context.Context) error {
	plan, err := a.autostart(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(plan.File); errors.Is(err, fs.ErrNotExist) {
		a.say("the system does not start the local environment")
		return nil
	}
	if err := a.systemAll(ctx, plan.Disable); err != nil {
		return err
	}
	if err := os.Remove(plan.File); err != nil {
		return fault.New(fault.Invalid, "cli.unwritable_file", "%w", err)
	}
	if err := a.systemAll(ctx, plan.Disabled); err != nil {
		return err
	}
	a.say("removed %s; the system no longer starts the local environment", plan.File)
	return nil
}
