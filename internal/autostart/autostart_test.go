package autostart

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

func facts(system string) Facts {
	return Facts{
		System: system, Home: "/home/alice", UID: 1000, Program: `/opt/my "tools"/100%/cortex`, Log: "/home/alice/.cortex/local/daemon.log",
		Env: map[string]string{"PATH": "/usr/bin:/bin", "CORTEX_CLI_CONFIG_DIR": "/home/alice/$x & <y>\n"},
	}
}

// What the systems read is in files, for people who know them.
func TestFilesOfTheSystems(t *testing.T) {
	t.Parallel()
	for system, want := range map[string]string{
		"linux":  "/home/alice/.config/systemd/user/cortex-local.service",
		"darwin": "/home/alice/Library/LaunchAgents/dev.cortex.local.plist",
	} {
		p, ok := For(facts(system))
		if !ok || p.File != want || len(p.Ready) == 0 || len(p.Start) == 0 {
			t.Fatalf("For(%s) = %+v, %v, want the file %s", system, p, ok, want)
		}
		golden := filepath.Join("testdata", filepath.Base(want))
		if *update {
			if err := os.WriteFile(golden, []byte(p.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), p.Text); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", golden, diff)
		}
	}
	if _, ok := For(facts("plan9")); ok {
		t.Error("For(plan9) knows a system that nobody has tried")
	}
}

// An agent is XML, whatever stands in its words.
func TestAgentIsXML(t *testing.T) {
	t.Parallel()
	p, _ := For(facts("darwin"))
	d := xml.NewDecoder(strings.NewReader(p.Text))
	var words []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the agent is no XML: %v\n%s", err, p.Text)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words = append(words, string(text))
		}
	}
	for _, want := range []string{facts("darwin").Program, facts("darwin").Env["CORTEX_CLI_CONFIG_DIR"]} {
		if !strings.Contains(strings.Join(words, "|"), want) {
			t.Errorf("the agent has %q, want %q among it", words, want)
		}
	}
}

func TestConfigHomeHolds(t *testing.T) {
	t.Parallel()
	f := facts("linux")
	for home, want := range map[string]string{"/cfg": "/cfg/systemd", "relative": "/home/alice/.config/systemd"} {
		f.ConfigHome = home
		if p, _ := For(f); !strings.HasPrefix(p.File, want) {
			t.Errorf("with XDG_CONFIG_HOME=%s the file is %s, want it below %s", home, p.File, want)
		}
	}
}
