package login

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/awscreds"
)

func TestSessionFilesArePrivate(t *testing.T) {
	t.Parallel()
	l := inProcess(t, newOperator(t), nil)
	if err := os.MkdirAll(l.dir, 0o755); err != nil { //nolint:gosec // as somebody may have made it
		t.Fatal(err)
	}
	if _, err := l.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := l.key()
	for path, want := range map[string]os.FileMode{l.dir: 0o700, l.sessionFile(key): 0o600, l.lockFile(key): 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", filepath.Base(path), info, err, want)
		}
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder has %d files (%v), want the session and its lock", len(entries), err)
	}
}

// The file is a format: another client reads it, and writes it.
func TestSessionFileFormat(t *testing.T) {
	t.Parallel()
	l := inProcess(t, &canned{}, nil)
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC) }
	const text = `{"version":1,"endpoint":"https://operator.example.com","cluster_id":"c","token":"cs1.abc","expires_at":"2026-01-02T03:04:05.678Z",` +
		`"principal":{"partition":"aws","account":"111122223333","type":"role","arn":"arn:aws:iam::111122223333:role/Ops","unique_id":"AROAABCDEFGHIJKLMNOPQ","session_name":"alice"},` +
		`"access_key_id":"ASIAENVEXAMPLEEXAMPL"}` + "\n"
	key := l.key()
	if err := privateFolder(l.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.sessionFile(key), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, ok := l.find(key)
	if !ok || s.Token.Text() != "cs1.abc" || s.Principal.Session != "alice" || s.AccessKeyID != "ASIAENVEXAMPLEEXAMPL" {
		t.Fatalf("find = %+v, %t", s, ok)
	}
	if err := l.save(key, s); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(l.sessionFile(key)); err != nil || string(data) != text {
		t.Errorf("save wrote %s, %v\nwant       %s", data, err, text)
	}
}

// The key is computed here from the words of its definition, once more.
func TestKey(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"HOME": home}
	l := New(Config{Endpoint: "https://e", ClusterID: "c", Getenv: func(name string) string { return env[name] }})
	check := func(name string, lines ...string) {
		t.Helper()
		if got, want := l.key(), sumOf(strings.Join(lines, "\n")); got != want {
			t.Errorf("%s: key() is not that of %q", name, lines)
		}
	}
	check("nothing", "cortex-session-1", "https://e", "c", "credentials=none", "config=none")
	write(".aws/credentials", "one")
	write(".aws/config", "two")
	write(".aws/sso/cache/b.json", "b")
	write(".aws/sso/cache/a.json", "a")
	write(".aws/sso/cache/c.txt", "c")
	check("files", "cortex-session-1", "https://e", "c", "credentials="+sumOf("one"), "config="+sumOf("two"),
		"sso/a.json="+sumOf("a"), "sso/b.json="+sumOf("b"))
	env["AWS_PROFILE"], env["AWS_ACCESS_KEY_ID"], env["AWS_REGION"], env["AWS_ROLE_ARN"] = "p", "id", "r", ""
	env["AWS_CONFIG_FILE"], env["AWS_SHARED_CREDENTIALS_FILE"] = filepath.Join(home, "none"), filepath.Join(home, ".aws", "config")
	check("variables", "cortex-session-1", "https://e", "c", "AWS_ACCESS_KEY_ID="+sumOf("id"), "AWS_PROFILE="+sumOf("p"),
		"credentials="+sumOf("two"), "config=none", "sso/a.json="+sumOf("a"), "sso/b.json="+sumOf("b"))
}

func TestSessionsThatAreNotUsed(t *testing.T) {
	t.Parallel()
	good := func(l *Login) session {
		return session{
			Version: 1, Endpoint: l.endpoint, ClusterID: testCluster, Token: awscreds.Hide("cs1.kept"), ExpiresAt: time.Now().Add(time.Hour),
			Principal: auth.Principal{ARN: "arn:aws:iam::111122223333:user/env"}, AccessKeyID: authtest.KeyID("env"),
		}
	}
	write := func(t *testing.T, path string, s session, mode os.FileMode) {
		t.Helper()
		data, err := json.Marshal(s)
		if err == nil {
			err = os.WriteFile(path, data, mode)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit := func(change func(*session)) func(*testing.T, *Login, string) {
		return func(t *testing.T, l *Login, path string) {
			s := good(l)
			change(&s)
			write(t, path, s, 0o600)
		}
	}
	text := func(text string) func(*testing.T, *Login, string) {
		return func(t *testing.T, _ *Login, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		put  func(t *testing.T, l *Login, path string)
		used bool
	}{
		{"good", edit(func(*session) {}), true},
		{"of a later version", edit(func(s *session) { s.Version = 2 }), false},
		{"of another endpoint", edit(func(s *session) { s.Endpoint = "https://other" }), false},
		{"of another cluster", edit(func(s *session) { s.ClusterID = "other" }), false},
		{"expired", edit(func(s *session) { s.ExpiresAt = time.Now().Add(-time.Hour) }), false},
		{"about to expire", edit(func(s *session) { s.ExpiresAt = time.Now().Add(9 * time.Second) }), false},
		{"without a token", edit(func(s *session) { s.Token = awscreds.Secret{} }), false},
		{"with a token of two lines", edit(func(s *session) { s.Token = awscreds.Hide("a\r\nX: y") }), false},
		{"empty", text(""), false},
		{"cut off", text(`{"version":1,"endpoint":"https://operator.example.com","clus`), false},
		{"no object", text(`[]`), false},
		{"two objects", func(t *testing.T, l *Login, path string) {
			data, _ := json.Marshal(good(l))
			text(string(data)+string(data))(t, l, path)
		}, false},
		{"huge", func(t *testing.T, l *Login, path string) {
			data, _ := json.Marshal(good(l))
			text(string(data)+strings.Repeat(" ", maxSessionBytes))(t, l, path)
		}, false},
		{"readable by the group", func(t *testing.T, l *Login, path string) { write(t, path, good(l), 0o640) }, false},
		{"writable by others", func(t *testing.T, l *Login, path string) { write(t, path, good(l), 0o602) }, false},
		{"a link", func(t *testing.T, l *Login, path string) {
			target := filepath.Join(t.TempDir(), "target")
			write(t, target, good(l), 0o600)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a pipe", func(t *testing.T, _ *Login, path string) {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"of another user", func(t *testing.T, l *Login, path string) {
			write(t, path, good(l), 0o600)
			if err := os.Chown(path, 12345, -1); err != nil {
				t.Skipf("only root can give a file away: %v", err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			l := inProcess(t, o, func(c *Config) { c.ClusterID = testCluster })
			if err := privateFolder(l.dir); err != nil {
				t.Fatal(err)
			}
			path := l.sessionFile(l.key())
			tt.put(t, l, path)
			token, err := l.Token(t.Context())
			if _, n := o.counts(); err != nil || (n == 0) != tt.used {
				t.Fatalf("Token(): %v after %d exchanges, want the kept one: %t", err, n, tt.used)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("afterwards the file is %v, %v, want a file of mode 0600", info, err)
			}
			if again, err := l.Token(t.Context()); err != nil || again != token {
				t.Errorf("the second Token is another one (%v), want the first to be kept", err)
			}
		})
	}
}

func TestUnwritableFolderIsAWarning(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	for _, tt := range []struct{ name, dir, warning string }{
		{"none", "", ""},
		{"below a file", "/dev/null/sessions", "cannot be kept in /dev/null/sessions"},
	} {
		l := inProcess(t, o, func(c *Config) { c.Dir = tt.dir })
		first, err := l.Token(t.Context())
		if err != nil {
			t.Fatalf("%s: Token: %v", tt.name, err)
		}
		if w := l.Warning(); (w == "") != (tt.warning == "") || !strings.Contains(w, tt.warning) {
			t.Errorf("%s: Warning() = %q, want %q in it", tt.name, w, tt.warning)
		}
		if second, err := l.Token(t.Context()); err != nil || second != first {
			t.Errorf("%s: the second Token is another one (%v), want the first from memory", tt.name, err)
		}
		l.credentials.Getenv = func(name string) string { return authtest.Env("env", false)[name] }
		if other, err := l.Token(t.Context()); err != nil || other == first {
			t.Errorf("%s: the Token of other credentials is the first (%v), want another", tt.name, err)
		}
	}
}

func TestWritingTidiesTheFolder(t *testing.T) {
	t.Parallel()
	l := inProcess(t, newOperator(t), nil)
	if err := privateFolder(l.dir); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(l.dir, name) }
	name := func(c string) string { return strings.Repeat(c, 64) }
	session := func(key string, left time.Duration) {
		s := session{Version: 1, Endpoint: "https://other", Token: awscreds.Hide("t"), ExpiresAt: time.Now().Add(left)}
		data, err := json.Marshal(s)
		if err == nil {
			err = os.WriteFile(at(key+".json"), data, 0o600)
		}
		if err == nil {
			err = os.WriteFile(at(key+".lock"), nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	session(name("a"), -time.Second)
	session(name("b"), time.Minute)
	session(name("c"), -time.Second)
	held, err := tryLock(at(name("c")+".lock"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, other := range []string{"notes.json", name("d") + ".lock", temporaryPrefix + "new", temporaryPrefix + "old"} {
		if err := os.WriteFile(at(other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(at(temporaryPrefix+"old"), time.Time{}, time.Now().Add(-2*staleTemporary)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		name("a") + ".json": false, name("a") + ".lock": false, // expired
		name("b") + ".json": true, name("b") + ".lock": true, // in use
		name("c") + ".json": false, name("c") + ".lock": true, // expired, and being renewed
		name("d") + ".lock": false,
		"notes.json":        true, temporaryPrefix + "new": true, temporaryPrefix + "old": false,
	} {
		if _, err := os.Lstat(at(file)); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", file, err == nil, want)
		}
	}
}

// Whoever waits with the file of a lock that its holder has removed must not think
// that it has the lock.
func TestRemovedLockIsNoLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.lock")
	old, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	removeLock(path)
	if isAt(old, path) {
		t.Error("the old file counts as the lock though it is gone")
	}
	lock, err := tryLock(path, os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if isAt(old, path) || !isAt(lock, path) {
		t.Error("the old file counts as the lock beside the new one")
	}
	if _, err := tryLock(path, os.O_CREATE); err == nil {
		t.Error("the lock was taken twice")
	}
	removeLock(path)
	if !isAt(lock, path) {
		t.Error("removeLock removed a lock that is held")
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, nil)
	other := inProcess(t, o, func(c *Config) { c.Endpoint, c.Dir = "https://other.example.com", l.dir })
	for _, l := range []*Login{l, other} {
		if _, err := l.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(l.sessionFile(l.key()), 0o644); err != nil { //nolint:gosec // it must go all the more
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := Forget(l.dir, l.endpoint); n != want || err != nil {
			t.Errorf("Forget = %d, %v, want %d", n, err, want)
		}
	}
	if _, ok := l.Kept(); ok {
		t.Error("the session is still kept")
	}
	if _, ok := other.Kept(); !ok {
		t.Error("the session of another operator is gone")
	}
	if n, err := Forget(filepath.Join(l.dir, "none"), l.endpoint); n != 0 || err != nil {
		t.Errorf("Forget of no folder = %d, %v, want 0, nil", n, err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(`{"version":1,"endpoint":"e","cluster_id":"c","token":"t","expires_at":"2026-01-02T03:04:05Z","principal":{},"access_key_id":"A"}`))
	f.Add([]byte(`{"version":1,"VERSION":2}`))
	f.Add([]byte(`{} {}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSession(data)
		if err != nil {
			return
		}
		if !isToken(s.Token.Text()) || strings.ContainsAny(s.Token.Text(), "\r\n ") || s.Version != 1 || s.ExpiresAt.IsZero() {
			t.Fatalf("parseSession accepted %s", data)
		}
		text, err := json.Marshal(s)
		if err != nil {
			return // a year that RFC 3339 cannot write; such a session is read, never written
		}
		again, err := parseSession(text)
		if err != nil || again.Token.Text() != s.Token.Text() || !again.ExpiresAt.Equal(s.ExpiresAt) || again.Principal != s.Principal {
			t.Fatalf("parseSession(%s) = %+v, %v, want %+v", text, again, err, s)
		}
	})
}
