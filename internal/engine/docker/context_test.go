package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Docker is where its own command line finds it.
func TestContextHost(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(text string, parts ...string) {
		t.Helper()
		path := filepath.Join(append([]string{home, ".docker"}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:])
	}
	write(`{"currentContext": "colima", "auths": {}}`, "config.json")
	write(`{"Name": "colima", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///home/me/.colima/docker.sock", "SkipTLSVerify": false}}}`, "contexts", "meta", id("colima"), "meta.json")
	write(`{"Name": "far", "Endpoints": {"docker": {"Host": "tcp://far:2376"}}}`, "contexts", "meta", id("far"), "meta.json")
	write("", "contexts", "tls", id("far"), "docker", "ca.pem")
	write("{", "contexts", "meta", id("torn"), "meta.json")
	for _, tt := range []struct {
		name string
		env  map[string]string
		host string
		err  string
	}{
		{"the current one", nil, "unix:///home/me/.colima/docker.sock", ""},
		{"DOCKER_HOST comes first", map[string]string{"DOCKER_HOST": "unix:///x"}, "", ""},
		{"DOCKER_CONTEXT comes before the current one", map[string]string{"DOCKER_CONTEXT": "default"}, "", ""},
		{"another folder", map[string]string{"DOCKER_CONFIG": filepath.Join(home, "nowhere")}, "", ""},
		{"one that there is not", map[string]string{"DOCKER_CONTEXT": "other"}, "", "no Docker context other"},
		{"one with certificates", map[string]string{"DOCKER_CONTEXT": "far"}, "", "has certificates"},
		{"one that cannot be read", map[string]string{"DOCKER_CONTEXT": "torn"}, "", "meta.json"},
		{"nobody's home", map[string]string{"HOME": ""}, "", ""},
	} {
		env := map[string]string{"HOME": home}
		for k, v := range tt.env {
			env[k] = v
		}
		got, err := contextHost(func(name string) string { return env[name] })
		if got != tt.host || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: contextHost() = %q, %v; want %q, %q", tt.name, got, err, tt.host, tt.err)
		}
	}
}
