package awscreds

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInputsSeeEachVariable(t *testing.T) {
	t.Parallel()
	env := map[string]string{"HOME": t.TempDir()}
	r := Resolver{Getenv: func(name string) string { return env[name] }}
	inputs := func() string { return strings.Join(r.Inputs(), "\n") }
	seen := map[string]string{inputs(): "nothing"}
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN",
		"AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY", "AWS_SECRET_KEY",
	} {
		env[name] = "value of " + name
		if before, ok := seen[inputs()]; ok {
			t.Errorf("the inputs with %s are those with %s", name, before)
		}
		seen[inputs()] = name
		env[name] = ""
	}
}

// A pipe can be read once, and the SDK is who reads it. Of the cached logins those count
// that can be such: JSON, and not too large.
func TestInputsLeaveFilesAlone(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	cache := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(home, ".aws", "config"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"a.json": 1, "b.txt": 1, "c.json": maxSSOFile + 1} {
		if err := os.WriteFile(filepath.Join(cache, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := Resolver{Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }}
	want := []string{"credentials=none", "config=none", "sso/a.json=" + digest([]byte{0})}
	if got := r.Inputs(); !slices.Equal(got, want) {
		t.Errorf("Inputs() = %q, want %q", got, want)
	}
}
