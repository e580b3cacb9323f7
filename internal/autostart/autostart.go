// Package autostart says how a system is told to start the local environment by itself:
// which file it reads, what stands in that, and which commands it wants.
//
// It promises to be pure, so that what it says for each system is tested on every one.
//
// It must not write files or run commands; the command line does.
package autostart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Name is what the systems call it.
const (
	unitName = "cortex-local.service"
	label    = "dev.cortex.local"
)

// Facts are of the machine and of its user.
type Facts struct {
	System     string // runtime.GOOS
	Home       string
	ConfigHome string // XDG_CONFIG_HOME; empty: below Home
	UID        int
	Program    string            // absolute
	Env        map[string]string // of the local environment; names without an equals sign
	Log        string            // file for what is said before it has its own
}

// Plan is what is to be done on one system.
type Plan struct {
	File string
	Text string
	// Ready is a command that fails where the system cannot do it.
	Ready []string
	// Enable are commands after the file is written, Start is one more where the local
	// environment does not run, Disable are commands before the file is removed, and
	// Disabled after.
	Enable, Disable, Disabled [][]string
	Start                     []string
	// Lingers is a command that prints "yes" when the system does not wait for somebody to
	// log in; Linger says what makes it so. Empty: it always waits.
	Lingers []string
	Linger  string
}

// For returns the plan for a machine; ok is false for systems that are not known.
func For(f Facts) (p Plan, ok bool) {
	switch f.System {
	case "linux":
		return systemd(f), true
	case "darwin":
		return launchd(f), true
	}
	return p, false
}

func systemd(f Facts) Plan {
	config := f.ConfigHome
	if !filepath.IsAbs(config) {
		config = filepath.Join(f.Home, ".config")
	}
	user := func(words ...string) []string { return append([]string{"systemctl", "--user"}, words...) }
	var b strings.Builder
	b.WriteString("# Written by `cortex local enable`; `cortex local disable` removes it.\n" +
		"[Unit]\nDescription=Cortex: the APIs of this user on this machine\n\n[Service]\n")
	for _, name := range slices.Sorted(maps.Keys(f.Env)) {
		fmt.Fprintf(&b, "Environment=%s\n", quoted(name+"="+f.Env[name]))
	}
	// As in deploy/systemd/cortex.service: only the program itself is told to stop, which
	// ends its replicas after their requests, and it may make control groups.
	fmt.Fprintf(&b, "ExecStart=%s local run\nTimeoutStopSec=150\nKillMode=mixed\nDelegate=yes\nRestart=on-failure\nRestartSec=2\n\n[Install]\nWantedBy=default.target\n", quoted(f.Program))
	uid := fmt.Sprint(f.UID)
	return Plan{
		File: filepath.Join(config, "systemd", "user", unitName), Text: b.String(),
		Ready:    user("show-environment"),
		Enable:   [][]string{user("daemon-reload"), user("enable", unitName)},
		Start:    user("start", unitName),
		Disable:  [][]string{user("disable", unitName)},
		Disabled: [][]string{user("daemon-reload")},
		Lingers:  []string{"loginctl", "show-user", uid, "--property=Linger", "--value"},
		Linger:   "it starts when you log in; `loginctl enable-linger` has it start with the machine",
	}
}

// quoted is a word of a unit file, in which % means something. ($ does in the arguments of
// a command only, of which none here is anybody's.)
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(text) + `"`
}

func launchd(f Facts) Plan {
	var env strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.Env)) {
		fmt.Fprintf(&env, "\t\t<key>%s</key>\n\t\t<string>%s</string>\n", escaped(name), escaped(f.Env[name]))
	}
	text := `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by cortex local enable; cortex local disable removes it. -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + label + `</string>
	<key>ProgramArguments</key>
	<array>
		<string>` + escaped(f.Program) + `</string>
		<string>local</string>
		<string>run</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
` + env.String() + `	</dict>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ExitTimeOut</key>
	<integer>120</integer>
	<key>StandardErrorPath</key>
	<string>` + escaped(f.Log) + `</string>
</dict>
</plist>
`
	// launchd reads the folder when the user logs in, so nothing has to be told to it;
	// loading starts the program at once, which one that runs already would not bear.
	file := filepath.Join(f.Home, "Library", "LaunchAgents", label+".plist")
	return Plan{
		File: file, Text: text,
		Ready: []string{"launchctl", "version"},
		Start: []string{"launchctl", "bootstrap", fmt.Sprintf("gui/%d", f.UID), file},
	}
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}
