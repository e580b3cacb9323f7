package environments

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/trust"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	aws, gpu := Environment{Name: "aws"}, Environment{Name: "gpu"}
	for _, tt := range []struct {
		name   string
		config Config
		flag   string
		want   string
		code   string
	}{
		{"nothing configured", Config{}, "", "local", ""},
		{"the flag wins", Config{DefaultEnvironment: "aws", Environments: []Environment{aws, gpu}}, "gpu", "gpu", ""},
		{"the default", Config{DefaultEnvironment: "gpu", Environments: []Environment{aws, gpu}}, "", "gpu", ""},
		{"the only one", Config{Environments: []Environment{aws}}, "", "aws", ""},
		{"local by name", Config{Environments: []Environment{aws}}, "local", "local", ""},
		{"the only one beside this machine", Config{Environments: []Environment{{Name: Local, AWSRegion: "r"}, aws}}, "", "aws", ""},
		{"only this machine", Config{Environments: []Environment{{Name: Local, AWSRegion: "r"}}}, "", "local", ""},
		{"several", Config{Environments: []Environment{aws, gpu}}, "", "", "cli.environment_not_set"},
		{"unknown", Config{}, "aws", "", "cliconfig.environment_not_configured"},
		{"a default that is gone", Config{DefaultEnvironment: "aws"}, "", "", "cliconfig.environment_not_configured"},
	} {
		got, err := tt.config.Choose(tt.flag)
		if got.Name != tt.want || fault.Code(err) != tt.code {
			t.Errorf("%s: Choose(%q) = %q, %v, want %q, %q", tt.name, tt.flag, got.Name, err, tt.want, tt.code)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"operator.example.com":        "https://operator.example.com",
		" https://x:8443/ ":           "https://x:8443",
		"http://127.0.0.1:1/a/":       "http://127.0.0.1:1/a",
		"":                            "",
		"ftp://x":                     "",
		"https://":                    "",
		"https://user:secret@x":       "",
		"https://x?a=b":               "",
		"https://x#f":                 "",
		"https://[::1":                "",
		"https://x\x00":               "",
		"https://:80":                 "",
		strings.Repeat("a", 10) + ":": "https://aaaaaaaaaa:",
	} {
		got, err := ParseEndpoint(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseEndpoint(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestCredentialsOfTheLocalEnvironment(t *testing.T) {
	t.Parallel()
	got := Environment{AWSAccessKeyID: "a", AWSSecretAccessKey: "b", AWSRegion: "c"}.Credentials()
	want := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c", "AWS_DEFAULT_REGION": "c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Credentials() (-want +got):\n%s", diff)
	}
}

// The first environment is where commands go, and stays it when others are added.
func TestPutSettlesTheDefault(t *testing.T) {
	t.Parallel()
	var c Config
	c.Put(Environment{Name: "aws"})
	c.Put(Environment{Name: "gpu"})
	c.Put(Environment{Name: Local, AWSRegion: "r"})
	c.Put(Environment{Name: "gpu", ClusterID: "c"})
	want := Config{DefaultEnvironment: "aws", Environments: []Environment{
		{Name: Local, AWSRegion: "r"}, {Name: "aws"}, {Name: "gpu", ClusterID: "c"},
	}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("after Put (-want +got):\n%s", diff)
	}
	one := Config{Environments: []Environment{{Name: "aws"}}}
	one.Put(Environment{Name: "gpu"})
	if one.DefaultEnvironment != "aws" {
		t.Errorf("after Put beside the only one the default is %q, want aws", one.DefaultEnvironment)
	}
}

func TestRemoveAndRename(t *testing.T) {
	t.Parallel()
	c := Config{DefaultEnvironment: "aws", Environments: []Environment{{Name: "aws"}, {Name: "gpu"}}}
	for _, tt := range []struct {
		name string
		err  error
		code string
	}{
		{"rename to one that exists", c.Rename("aws", "gpu"), "cliconfig.environment_already_configured"},
		{"rename one that does not", c.Rename("x", "y"), "cliconfig.environment_not_configured"},
		{"rename", c.Rename("aws", "prod"), ""},
		{"remove one that does not exist", last(c.Remove("x")), "cliconfig.environment_not_configured"},
		{"remove this machine", last(c.Remove(Local)), "cliconfig.environment_not_configured"},
	} {
		if fault.Code(tt.err) != tt.code {
			t.Errorf("%s = %v, want code %q", tt.name, tt.err, tt.code)
		}
	}
	if c.DefaultEnvironment != "prod" {
		t.Errorf("the default is %q after its environment was renamed, want prod", c.DefaultEnvironment)
	}
	gone, err := c.Remove("prod")
	if err != nil || gone.Name != "prod" || c.DefaultEnvironment != "" || c.Find("prod") != nil {
		t.Errorf("Remove(prod) = %+v, %v and leaves %+v", gone, err, c)
	}
	old := Config{Environments: []Environment{{Name: Local, Provider: "aws"}}}
	if _, err := old.Remove(Local); err != nil || len(old.Environments) != 0 {
		t.Errorf("Remove(an entry of an older release) = %v, want it gone", err)
	}
}

func last(_ Environment, err error) error { return err }

// What is written is read again, in the keys that the Python client reads too.
func TestChangeWritesWhatReadReads(t *testing.T) {
	t.Parallel()
	file := In(filepath.Join(t.TempDir(), "new"))
	if c, err := file.Read(); err != nil || !cmp.Equal(c, &Config{}) {
		t.Errorf("Read without a file = %+v, %v, want an empty configuration", c, err)
	}
	fingerprint := "sha256:" + strings.Repeat("ab", 32)
	prod := Environment{Name: "prod", OperatorEndpoint: "https://x", Anchor: trust.Anchor{Fingerprint: fingerprint}, ClusterID: "c"}
	if err := file.Change(t.Context(), func(c *Config) error { c.Put(prod); return nil }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Path())
	if err != nil {
		t.Fatal(err)
	}
	want := "default_environment: prod\nenvironments:\n  - name: prod\n    operator_endpoint: https://x\n" +
		"    operator_fingerprint: " + fingerprint + "\n    cluster_id: c\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	c, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Choose(""); err != nil || got != prod {
		t.Errorf("Choose = %+v, %v, want %+v", got, err, prod)
	}
	failed := errors.New("failed")
	if err := file.Change(t.Context(), func(c *Config) error { c.Environments = nil; return failed }); !errors.Is(err, failed) {
		t.Errorf("Change = %v, want the error of its function", err)
	}
	if after, err := os.ReadFile(file.Path()); err != nil || string(after) != string(text) {
		t.Errorf("a change that fails has left %q, %v", after, err)
	}
}

// The command line of 0.42 reads cli.yaml too, and fails on an entry without an
// operator_endpoint and on keys that it does not know.
func TestSettingsOfLocalAreInAFileOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := In(dir)
	prod, local := Environment{Name: "prod", OperatorEndpoint: "https://x"}, Environment{Name: Local, AutoscalingTick: "5s"}
	change := func(fn func(*Config)) {
		t.Helper()
		if err := file.Change(t.Context(), func(c *Config) error { fn(c); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	change(func(c *Config) { c.Put(prod); c.Put(local) })
	shared, err := os.ReadFile(file.Path())
	if err != nil || string(shared) != "default_environment: prod\nenvironments:\n  - name: prod\n    operator_endpoint: https://x\n" {
		t.Errorf("cli.yaml = %q, %v, want nothing of local", shared, err)
	}
	c, err := file.Read()
	if err != nil || !cmp.Equal(c.Environments, []Environment{local, prod}) {
		t.Errorf("Read = %+v, %v, want local and prod", c, err)
	}
	change(func(c *Config) { c.Find(Local).AutoscalingTick = "" })
	if _, err := os.Stat(filepath.Join(dir, "local.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("local.yaml: %v, want it gone when nothing is set", err)
	}
}

// What an earlier build has written into cli.yaml counts until local has its own file.
func TestSettingsOfLocalInCLIYAML(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cli.yaml", "environments:\n- name: local\n  aws_region: old\n  autoscaling_tick: 2s\n")
	if c, err := In(dir).Read(); err != nil || c.Find(Local).AWSRegion != "old" {
		t.Errorf("Read = %+v, %v, want what cli.yaml says", c, err)
	}
	write("local.yaml", "aws_region: new\n")
	if c, err := In(dir).Read(); err != nil || !cmp.Equal(c.Environments, []Environment{{Name: Local, AWSRegion: "new"}}) {
		t.Errorf("Read = %+v, %v, want what local.yaml says", c, err)
	}
	write("local.yaml", "[")
	if _, err := In(dir).Read(); err == nil || !strings.Contains(err.Error(), "local.yaml") {
		t.Errorf("Read = %v, want an error that names local.yaml", err)
	}
}

// Releases 0.18 to 0.25 wrote an entry for this machine, which stops nobody.
func TestEntryOfAnOldLocalIsIgnored(t *testing.T) {
	t.Parallel()
	file := In(t.TempDir())
	text := "default_environment: laptop\nenvironments:\n- {name: local, provider: local}\n- {name: laptop, provider: local}\n- {name: aws, provider: aws, operator_endpoint: x}\n"
	if err := os.WriteFile(file.Path(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := file.Read()
	if err != nil || len(c.Environments) != 1 || c.Environments[0].Name != "aws" || len(c.Ignored) != 2 {
		t.Fatalf("Read = %+v, %v, want aws, and two entries ignored", c, err)
	}
	if env, err := c.Choose(""); err != nil || env.Name != Local {
		t.Errorf("Choose = %+v, %v, want local, which the default was", env, err)
	}
	if err := file.Change(t.Context(), func(c *Config) error { _, err := c.Remove(Local); return err }); err != nil {
		t.Errorf("Remove = %v", err)
	}
	if c, err := file.Read(); err != nil || len(c.Ignored) != 1 {
		t.Errorf("Read = %+v, %v, want one entry left that is ignored", c, err)
	}
}

func TestChangesFollowEachOther(t *testing.T) {
	t.Parallel()
	file := In(t.TempDir())
	var wg sync.WaitGroup
	for _, name := range strings.Fields("a b c d e f g h") {
		wg.Go(func() {
			err := file.Change(t.Context(), func(c *Config) error {
				c.Put(Environment{Name: name, OperatorEndpoint: "https://" + name})
				return nil
			})
			if err != nil {
				t.Errorf("Change = %v", err)
			}
		})
	}
	wg.Wait()
	if c, err := file.Read(); err != nil || len(c.Environments) != 8 {
		t.Errorf("Read = %+v, %v, want what all eight have added", c, err)
	}
}

// Whatever the file says, reading it ends in a configuration or in an error.
func FuzzRead(f *testing.F) {
	f.Add("environments:\n- name: a\n  operator_endpoint: x\n")
	f.Add("default_environment: [")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		file := In(t.TempDir())
		if err := os.WriteFile(file.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := file.Read()
		if err != nil {
			return
		}
		if env, err := c.Choose(""); err == nil && env.Name == "" {
			t.Errorf("an environment without a name is chosen from %q", text)
		}
	})
}
