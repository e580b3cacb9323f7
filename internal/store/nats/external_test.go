package nats

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
)

// serverOptions are those of a server as others would run it.
func serverOptions(t testing.TB) *server.Options {
	t.Helper()
	return &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20,
	}
}

// runServer starts a server and returns it with its URL.
func runServer(t testing.TB, opts *server.Options) (*server.Server, string) {
	t.Helper()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start within a minute")
	}
	return srv, srv.ClientURL()
}

// external makes a server of its own for each test.
func external(t *testing.T) storetest.Open {
	_, url := runServer(t, serverOptions(t))
	return func(t *testing.T) store.Store { return open(t, Config{URL: url}) }
}

func TestExternalServer(t *testing.T) {
	t.Parallel()
	storetest.Run(t, external)
}

func TestReplicasAtOneServer(t *testing.T) {
	t.Parallel()
	storetest.RunReplicas(t, external)
}

// TestReplicasAtACluster has each replica speak to another of three servers, which
// keep three copies.
func TestReplicasAtACluster(t *testing.T) {
	t.Parallel()
	storetest.RunReplicas(t, func(t *testing.T) storetest.Open {
		urls := runCluster(t, 3)
		next := 0
		return func(t *testing.T) store.Store {
			next++
			return open(t, Config{URL: urls[next%len(urls)], Replicas: 3})
		}
	})
}

// runCluster starts servers that know each other and waits until they agree.
func runCluster(t *testing.T, n int) (urls []string) {
	t.Helper()
	var routes string
	var servers []*server.Server
	for i := range n {
		opts := serverOptions(t)
		opts.ServerName = fmt.Sprint("s", i)
		opts.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		opts.Routes = server.RoutesFromStr(routes)
		srv, url := runServer(t, opts)
		servers, urls = append(servers, srv), append(urls, url)
		if i == 0 {
			routes = "nats://" + srv.ClusterAddr().String()
		}
	}
	soon(t, func() bool {
		for _, srv := range servers {
			if srv.JetStreamIsLeader() {
				return len(srv.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	return urls
}

func TestServersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	withoutStorage := serverOptions(t)
	withoutStorage.JetStream = false
	_, noStorage := runServer(t, withoutStorage)
	private := serverOptions(t)
	private.Username, private.Password = "me", "right"
	_, guarded := runServer(t, private)
	as := func(who string) string { return strings.Replace(guarded, "://", "://"+who+"@", 1) }
	for name, tt := range map[string]struct {
		cfg   Config
		kind  fault.Kind
		code  string
		words string
	}{
		"nobody there":                       {Config{URL: "nats://me:secret@127.0.0.1:1"}, fault.Unavailable, "store.unavailable", "nats://127.0.0.1:1"},
		"no storage":                         {Config{URL: noStorage}, fault.Unavailable, "store.unavailable", "JetStream"},
		"a wrong password":                   {Config{URL: as("me:secret")}, fault.Unavailable, "store.unavailable", strings.TrimPrefix(guarded, "nats://")},
		"no URL":                             {Config{URL: "nats://me:secret@"}, fault.Invalid, "store.illegal_config", "URL"},
		"a broken URL":                       {Config{URL: "nats://me:secret@%zz"}, fault.Invalid, "store.illegal_config", "URL"},
		"two places":                         {Config{URL: guarded, Dir: t.TempDir()}, fault.Invalid, "store.illegal_config", "both"},
		"copies in a folder":                 {Config{Dir: t.TempDir(), Replicas: 3}, fault.Invalid, "store.illegal_config", "3"},
		"too many copies":                    {Config{URL: guarded, Replicas: 6}, fault.Invalid, "store.illegal_config", "6"},
		"copies that there is no server for": {Config{URL: as("me:right"), Replicas: 3}, fault.Unavailable, "store.unavailable", "replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), tt.cfg)
			wantCode(t, "Open()", err, tt.kind, tt.code, tt.words)
			if text := err.Error() + fault.From(err).Hint; strings.Contains(text, "secret") {
				t.Errorf("Open() = %s repeats the password", text)
			}
		})
	}
	s := open(t, Config{URL: as("me:right")})
	if _, err := s.Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Errorf("Put() with the right password = %v", err)
	}
}

func TestRecordsThatTheServerDoesNotTake(t *testing.T) {
	t.Parallel()
	opts := serverOptions(t)
	opts.MaxPayload = 64 << 10
	_, url := runServer(t, opts)
	s := open(t, Config{URL: url})
	w := storetest.Sample("iris", 1)
	w.Revision.SubmittedAPISpec = map[string]any{"text": strings.Repeat("x", 100<<10)}
	_, err := s.Put(t.Context(), w)
	wantCode(t, "Put() of more than the server takes", err, fault.Invalid, "store.too_large", "larger than")
}

// TestAServerThatComesBack wants calls to fail in words while it is away, and
// everything to go on afterwards.
func TestAServerThatComesBack(t *testing.T) {
	t.Parallel()
	opts := serverOptions(t)
	srv, url := runServer(t, opts)
	s := open(t, Config{URL: url})
	changes, done := make(chan store.Change, 100), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- s.Watch(ctx, func(c store.Change) { changes <- c }) }()
	if c := <-changes; c.Name != "" {
		t.Fatalf("Watch() told %+v, want the marker", c)
	}
	if err := s.Claim(t.Context(), "key", time.Minute); err != nil {
		t.Fatalf("Claim() = %v", err)
	}
	port := srv.Addr().(*net.TCPAddr).Port
	srv.Shutdown()
	srv.WaitForShutdown()
	_, err := s.Put(t.Context(), storetest.Sample("lost", 1))
	wantCode(t, "Put() while the server is away", err, fault.Unavailable, "store.unavailable", url)
	opts.Port = port
	runServer(t, opts)
	if _, err := s.Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Fatalf("Put() when it is back = %v", err)
	}
	soon(t, func() bool { return len(changes) > 0 })
	if c := <-changes; c.Name != "iris" {
		t.Errorf("Watch() told %+v, want iris", c)
	}
	if err := s.Claim(t.Context(), "key", time.Minute); fault.Code(err) != "store.already_claimed" {
		t.Errorf("Claim(key) = %v, want store.already_claimed", err)
	}
	stop()
	<-done
}
