package login

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
)

// inProcess is a Login with a pair of credentials in its environment: it asks the
// SDK for nothing, so that no process is needed.
func inProcess(t *testing.T, o Operator, change func(*Config)) *Login {
	t.Helper()
	home := t.TempDir()
	env := with(authtest.Env("envtoken", true), map[string]string{"HOME": home})
	cfg := Config{
		Operator: o, Endpoint: "https://operator.example.com", Dir: filepath.Join(home, ".cortex", "sessions"),
		Getenv: func(name string) string { return env[name] },
	}
	if change != nil {
		change(&cfg)
	}
	l := New(cfg)
	l.jitter = func() time.Duration { return 0 }
	return l
}

func TestManyAtOnceExchangeOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                  string
		processes, goroutines int
		refused               bool
		unkept                bool
	}{
		{"goroutines", 1, 8, false, false},
		{"processes", 4, 1, false, false},
		{"goroutines of processes", 4, 4, false, false},
		{"renewals", 4, 4, true, false},
		{"goroutines that keep nothing", 1, 8, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, m := newOperator(t), newMachine(t)
			env := with(authtest.Env("env", false), map[string]string{manyVar: fmt.Sprint(tt.goroutines)})
			before := 0
			if tt.refused {
				first := inProcess(t, &remote{url: o.url}, func(c *Config) {
					c.Endpoint, c.Dir = o.url, m.sessions
					c.Getenv = func(name string) string { return with(m.env, env)[name] }
				})
				token, err := first.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				env[refusedVar], before = token, 1
			}
			if tt.unkept {
				env[dirVar] = "/dev/null/sessions"
			}
			o.sts.SetDelay(300 * time.Millisecond) // so that they meet
			wait := make([]func() report, tt.processes)
			for i := range wait {
				cmd, out, errs := m.command(t, o, env)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				wait[i] = func() report {
					if err := cmd.Wait(); err != nil {
						t.Errorf("child: %v\n%s%s", err, out, errs)
					}
					return readReport(t, o, out, errs)
				}
			}
			tokens := map[string]bool{}
			for _, w := range wait {
				r := w()
				if len(r.Tokens) != tt.goroutines {
					t.Errorf("%d of %d got a token: %s", len(r.Tokens), tt.goroutines, r.Message)
				}
				for _, token := range r.Tokens {
					tokens[token] = true
				}
				if tt.unkept != strings.Contains(r.Warning, "cannot be kept in /dev/null/sessions") {
					t.Errorf("Warning() = %q", r.Warning)
				}
			}
			if _, n := o.counts(); n-before != 1 || len(tokens) != 1 || tokens[sumOf(env[refusedVar])] {
				t.Errorf("%d exchanges and %d tokens, want 1 and 1, not the one that was refused", n-before, len(tokens))
			}
		})
	}
}

// A kept session costs nothing: no request to anybody, no process, not even a look
// at the file of profiles by the SDK, which would fail here.
func TestWarmTokenAsksNobody(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(trap.Close)
	o, m := newOperator(t), newMachine(t)
	m.write(t, ".aws/config", "[profile proc]\ncredential_process = touch "+m.home+"/started; cat "+m.home+"/process.json\n")
	m.write(t, "process.json", authtest.ProcessJSON("proc", time.Now().Add(time.Hour)))
	env := map[string]string{"AWS_PROFILE": "proc", "HTTP_PROXY": trap.URL, "HTTPS_PROXY": trap.URL}
	cold := m.run(t, o, env)
	if len(cold.Tokens) != 1 {
		t.Fatalf("Token: %s", cold.Message)
	}
	started := filepath.Join(m.home, "started")
	if err := os.Remove(started); err != nil {
		t.Fatalf("the process did not run for the first session: %v", err)
	}
	challenges, exchanges := o.counts()
	env["AWS_EC2_METADATA_DISABLED"], env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "", trap.URL
	env["AWS_ENDPOINT_URL_STS"], env["AWS_DEFAULTS_MODE"], env["AWS_MAX_ATTEMPTS"] = trap.URL, "auto", "not a number"
	warm := m.run(t, o, env)
	if len(warm.Tokens) != 1 || warm.Tokens[0] != cold.Tokens[0] {
		t.Errorf("a warm Token = %v (%s), want %v", warm.Tokens, warm.Message, cold.Tokens)
	}
	if c, e := o.counts(); c != challenges || e != exchanges || asked.Load() != 0 {
		t.Errorf("a warm Token asked the operator %d times and others %d times, want never", c-challenges+e-exchanges, asked.Load())
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("a warm Token started the credential_process")
	}
}

func TestOtherCredentialsAreAnotherSession(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, nil)
	env := with(authtest.Env("envtoken", true), map[string]string{"HOME": t.TempDir()})
	l.credentials.Getenv = func(name string) string { return env[name] }
	first, err := l.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"] = authtest.KeyID("env"), authtest.SecretOf("env"), ""
	if k, ok := l.Kept(); ok {
		t.Errorf("Kept() = %+v after the credentials changed, want none", k)
	}
	second, err := l.Token(t.Context())
	if err != nil || second == first {
		t.Fatalf("Token() = the first session (%v), want another", err)
	}
	if k, ok := l.Kept(); !ok || k.Principal.Name() != "user/env" || k.AccessKeyID != "AKIA…AMPL" {
		t.Errorf("Kept() = %+v, %t, want user/env", k, ok)
	}
}

func TestRefusedTokensAreRenewed(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, nil)
	first, err := l.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Renew(t.Context(), first)
	if err != nil || second == first {
		t.Fatalf("Renew(first) = first: %t, %v, want another token", second == first, err)
	}
	third, err := l.Renew(t.Context(), first)
	if err != nil || third != second {
		t.Errorf("Renew(first) again = second: %t, %v, want what is there meanwhile", third == second, err)
	}
	if _, n := o.counts(); n != 2 {
		t.Errorf("%d exchanges, want 2", n)
	}
}

// canned is an operator that needs no network, for tests with a clock of their own.
type canned struct{ n atomic.Int64 }

func (c *canned) Challenge(context.Context) (auth.Challenge, string, error) {
	return auth.Challenge{ClusterID: testCluster, Region: testRegion, Partition: "aws", Nonce: "nonce-nonce-nonce-nonce", TLSFingerprint: testTLS}, testTLS, nil
}

func (c *canned) Exchange(context.Context, auth.Proof) (auth.Session, error) {
	return auth.Session{Token: fmt.Sprintf("token-%d", c.n.Add(1)), ClusterID: testCluster, ExpiresAt: time.Now().Add(15 * time.Minute)}, nil
}

func TestRenewWaitsForAsLongAsItsJitter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := inProcess(t, &canned{}, func(c *Config) { c.Dir = dir })
		l.jitter = func() time.Duration { return maxJitter }
		start := time.Now()
		if _, err := l.Renew(t.Context(), "old"); err != nil || time.Since(start) != maxJitter {
			t.Errorf("Renew: %v after %s, want nil after %s", err, time.Since(start), maxJitter)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := l.Renew(ctx, "old"); err == nil {
			t.Error("Renew with a context that ends: nil, want an error")
		}
	})
}

func TestJitterIsBounded(t *testing.T) {
	t.Parallel()
	l := New(Config{})
	for range 1000 {
		if d := l.jitter(); d < 0 || d > maxJitter {
			t.Fatalf("jitter() = %s, want 0 to %s", d, maxJitter)
		}
	}
}

func TestSessionsAreUsedUntilTenSecondsBeforeTheirEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &canned{}
		l := inProcess(t, c, func(cfg *Config) { cfg.Dir = dir })
		want := func(token string) {
			t.Helper()
			if got, err := l.Token(t.Context()); err != nil || got != token {
				t.Errorf("Token() = %q, %v, want %q", got, err, token)
			}
		}
		want("token-1")
		time.Sleep(15*time.Minute - minLeft - time.Second)
		want("token-1")
		time.Sleep(time.Second)
		want("token-2")
	})
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := inProcess(t, &canned{}, func(c *Config) { c.Dir = dir })
		held, err := tryLock(l.lockFile(l.key()), os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := l.Token(ctx); err == nil || ctx.Err() == nil {
			t.Errorf("Token() while another process exchanges: %v, want the end of the context", err)
		}
		held.Close()
		if _, err := l.Token(t.Context()); err != nil {
			t.Errorf("Token() after the other process died: %v", err)
		}
	})
}

func TestNothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, nil)
	if _, err := l.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, ok := l.find(l.key())
	if !ok {
		t.Fatal("the session is not kept")
	}
	k, err := l.credentials.Resolve(t.Context(), testRegion)
	if err != nil {
		t.Fatal(err)
	}
	l.memory = &memory{key: "k", session: s}
	kept, _ := l.Kept()
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	for _, v := range []any{l, struct{ l *Login }{l}, s, &s, k, &k, s.Token, kept, k.Found, *l.memory, l.memory} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
	}
	log.Info("log", "token", s.Token)
	for _, secret := range o.secrets() {
		if strings.Contains(b.String(), secret) || strings.Contains(b.String(), fmt.Sprintf("%x", secret)) {
			t.Errorf("%q is printed", secret)
		}
	}
}

func BenchmarkWarmToken(b *testing.B) {
	dir := b.TempDir()
	env := with(authtest.Env("env", false), map[string]string{"HOME": dir})
	if err := os.MkdirAll(filepath.Join(dir, ".aws"), 0o700); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"credentials", "config"} {
		text := strings.Repeat("[profile some]\n"+authtest.Profile("dev", true), 20)
		if err := os.WriteFile(filepath.Join(dir, ".aws", name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	l := New(Config{Operator: &canned{}, Endpoint: "https://operator", Dir: filepath.Join(dir, "sessions"), Getenv: func(name string) string { return env[name] }})
	for b.Loop() {
		if _, err := l.Token(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
