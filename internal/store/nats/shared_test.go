package nats

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// soon waits until ok holds.
func soon(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx, deadline := t.Context(), time.Now().Add(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.Fatal("not within a minute")
		}
	}
}

func TestClaimsAreBoundedInNumber(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir(), claims: 3})
	for n := range 3 {
		ttl := store.MaxClaim
		if n == 0 {
			ttl = time.Second
		}
		if err := s.Claim(t.Context(), fmt.Sprint("key-", n), ttl); err != nil {
			t.Fatalf("Claim() = %v", err)
		}
	}
	err := s.Claim(t.Context(), "more", time.Minute)
	wantCode(t, "Claim() when there are as many as may be", err, fault.Unavailable, "store.claims_full", "3")
	err = s.Claim(t.Context(), "key-2", time.Minute)
	if fault.Code(err) != "store.already_claimed" && fault.Code(err) != "store.claims_full" {
		t.Errorf("Claim(key-2) = %v, want a refusal: it must not be forgotten", err)
	}
	soon(t, func() bool { return s.Claim(t.Context(), "more", time.Minute) == nil }) // key-0 is over
}

func TestClaimsAreRoundedUpToSeconds(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir()})
	stream, err := s.current.Load().js.Stream(t.Context(), streamClaims)
	if err != nil {
		t.Fatal(err)
	}
	for ttl, want := range map[time.Duration]string{
		1: "1s", time.Second: "1s", time.Second + 1: "2s", 90 * time.Second: "1m30s", store.MaxClaim: "10m0s",
	} {
		key := fmt.Sprint("key-", int(ttl))
		if err := s.Claim(t.Context(), key, ttl); err != nil {
			t.Fatalf("Claim(for %v) = %v", ttl, err)
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), prefixClaims+key)
		if err != nil || m.Header.Get("Nats-TTL") != want {
			t.Errorf("Claim(for %v) lasts %q, %v, want %s", ttl, m.Header.Get("Nats-TTL"), err, want)
		}
	}
}

// TestClaimsOnAFullDisk wants a refusal: a claim that is not on the disk is none.
func TestClaimsOnAFullDisk(t *testing.T) {
	t.Parallel()
	free := uint64(1 << 30)
	s := open(t, Config{Dir: t.TempDir(), free: func(string) (uint64, error) { return free, nil }})
	free = reserveGrow - 1
	wantCode(t, "Claim() with a full disk", s.Claim(t.Context(), "key", time.Minute), fault.Unavailable, "store.disk_full")
	_, err := s.SetValue(t.Context(), "v", nil, 0)
	wantCode(t, "SetValue() with a full disk", err, fault.Unavailable, "store.disk_full")
}

// withShared is a closed folder with workloads, claims and values.
func withShared(t *testing.T) string {
	t.Helper()
	dir := filled(t)
	s := open(t, Config{Dir: dir})
	for n := range 4 {
		if err := s.Claim(t.Context(), fmt.Sprint("Key_", n), store.MaxClaim); err != nil {
			t.Fatalf("Claim() = %v", err)
		}
		if _, err := s.SetValue(t.Context(), fmt.Sprint("V_", n), []byte("data"), 0); err != nil {
			t.Fatalf("SetValue() = %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	return dir
}

func streamFolder(dir, stream string) string {
	return filepath.Join(dir, filepath.FromSlash(streamsDir), stream)
}

// wantShared wants what withShared wrote to be there.
func wantShared(t *testing.T, s *Store) {
	t.Helper()
	if data, _, err := s.Value(t.Context(), "V_0"); err != nil || string(data) != "data" {
		t.Errorf("Value(V_0) = %q, %v, want data", data, err)
	}
	if err := s.Claim(t.Context(), "Key_0", time.Minute); fault.Code(err) != "store.already_claimed" {
		t.Errorf("Claim(Key_0) = %v, want store.already_claimed", err)
	}
}

// TestFoldersOfAnEarlierVersion have no streams for what is shared, or some that
// were being made when the process died.
func TestFoldersOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	original := filled(t)
	for name, damage := range map[string]func(dir string) error{
		"neither stream": func(dir string) error {
			return os.RemoveAll(streamFolder(dir, streamShared))
		},
		"half of a stream": func(dir string) error {
			return os.WriteFile(filepath.Join(streamFolder(dir, streamClaims), "meta.inf"), []byte("{"), 0o600)
		},
		"a stream without its checksum": func(dir string) error {
			return os.Remove(filepath.Join(streamFolder(dir, streamShared), "meta.sum"))
		},
	} {
		dir := copyOf(t, original)
		if err := os.Remove(filepath.Join(dir, sharedFile)); err != nil {
			t.Fatal(err)
		}
		if name == "neither stream" {
			if err := os.RemoveAll(streamFolder(dir, streamClaims)); err != nil {
				t.Fatal(err)
			}
		}
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		for life := range 2 {
			s := open(t, Config{Dir: dir})
			if list, err := s.List(t.Context()); err != nil || len(list) != 6 {
				t.Errorf("%s: List() = %d, %v, want 6", name, len(list), err)
			}
			err := s.Claim(t.Context(), "key", time.Minute)
			if got := fault.Code(err) == "store.already_claimed"; got != (life > 0) || err != nil && !got {
				t.Errorf("%s: Claim(key) in life %d = %v", name, life, err)
			}
			if _, err := s.SetValue(t.Context(), fmt.Sprint("v", life), nil, 0); err != nil {
				t.Errorf("%s: SetValue() in life %d = %v", name, life, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		}
	}
}

// TestSetUpsThatDiedHalfWay are finished, unless that would cost something.
func TestSetUpsThatDiedHalfWay(t *testing.T) {
	t.Parallel()
	unmarked := func(t *testing.T, original string) string {
		dir := copyOf(t, original)
		if err := os.Remove(filepath.Join(dir, formatFile)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	full, empty := withShared(t), t.TempDir()
	if err := open(t, Config{Dir: empty}).Close(); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{streamWorkloads, streamHistory, streamEvents, streamShared, streamClaims} {
		for _, file := range []string{"meta.inf", "meta.sum"} {
			dir := unmarked(t, empty)
			if err := os.Remove(filepath.Join(streamFolder(dir, stream), file)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := open(t, Config{Dir: dir})
				if _, err := s.List(t.Context()); err != nil {
					t.Errorf("List() after %s of %s was missing = %v", file, stream, err)
				}
				if err := s.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			}
			if stream == streamEvents {
				continue // nothing of it is kept in full
			}
			dir = unmarked(t, full)
			if err := os.Remove(filepath.Join(streamFolder(dir, stream), file)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), Config{Dir: dir})
			wantCode(t, "Open() without "+file+" of "+stream, err, fault.Unavailable, "store.corrupt", stream)
		}
	}
}

func TestDamageOfWhatIsSharedIsRefused(t *testing.T) {
	t.Parallel()
	original := withShared(t)
	for _, stream := range []string{streamShared, streamClaims} {
		dir := copyOf(t, original)
		path := filepath.Join(streamFolder(dir, stream), "msgs", "1.blk")
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(good)/2; at += 5 {
			bad := bytes.Clone(good)
			bad[at] ^= 0x10
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), Config{Dir: dir})
			wantCode(t, fmt.Sprintf("Open() with byte %d of %s flipped", at, stream), err, fault.Unavailable, "store.corrupt", path)
			if hint := fault.From(err).Hint; stream == streamClaims && !strings.Contains(hint, "delete the folder "+streamFolder(dir, stream)) {
				t.Errorf("the hint is %q, want it to say which folder may be deleted", hint)
			}
		}
		if err := os.WriteFile(path, good[:len(good)-3], 0o600); err != nil { // the write that was under way
			t.Fatal(err)
		}
		s := open(t, Config{Dir: dir})
		wantShared(t, s)
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := os.Remove(filepath.Join(streamFolder(dir, stream), "meta.inf")); err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), Config{Dir: dir})
		wantCode(t, "Open() without the description of "+stream, err, fault.Unavailable, "store.corrupt", stream)
	}
}

// TestAStreamThatIsGone is a damage when it held values, and the way to get rid of
// damaged claims.
func TestAStreamThatIsGone(t *testing.T) {
	t.Parallel()
	original := withShared(t)
	dir := copyOf(t, original)
	if err := os.RemoveAll(streamFolder(dir, streamShared)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: dir})
	wantCode(t, "Open() without the stream of values", err, fault.Unavailable, "store.corrupt", streamShared)

	dir = copyOf(t, original)
	if err := os.RemoveAll(streamFolder(dir, streamClaims)); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	if err := s.Claim(t.Context(), "Key_0", time.Minute); err != nil {
		t.Errorf("Claim(Key_0) without the stream of claims = %v", err)
	}
	if data, _, err := s.Value(t.Context(), "V_0"); err != nil || string(data) != "data" {
		t.Errorf("Value(V_0) = %q, %v, want data", data, err)
	}
}

// claimUntilKilled takes claims, lets others end, and counts in a value. It says on
// standard output what was acknowledged.
func claimUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 3 {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("kept-%d-%d-%d", os.Getpid(), w, n)
				if err := s.Claim(ctx, key, store.MaxClaim); err != nil {
					failed <- err
				}
				fmt.Println("claimed", key)
				if err := s.Claim(ctx, strings.Replace(key, "kept", "passing", 1), time.Second); err != nil {
					failed <- err
				}
			}
		}()
	}
	go func() {
		for {
			data, at, err := s.Value(ctx, "count")
			if err != nil {
				failed <- err
			}
			n, _ := strconv.Atoi(string(data)) // nothing at first
			if _, err := s.SetValue(ctx, "count", []byte(strconv.Itoa(n+1)), at); err != nil {
				failed <- err
			}
			fmt.Println("counted", n+1)
		}
	}()
	return <-failed
}

func TestKillForgetsNoClaim(t *testing.T) {
	t.Parallel()
	const rounds = 12
	dir := t.TempDir()
	var claimed []string
	counted := 0
	for range rounds {
		keys, count := claimAndKill(t, dir)
		claimed, counted = append(claimed, keys...), max(counted, count)
		s := open(t, Config{Dir: dir})
		for _, key := range claimed {
			if err := s.Claim(t.Context(), key, time.Minute); fault.Code(err) != "store.already_claimed" {
				t.Fatalf("Claim(%s) = %v after a kill, want store.already_claimed", key, err)
			}
		}
		data, _, err := s.Value(t.Context(), "count")
		if n, _ := strconv.Atoi(string(data)); err != nil || n != counted && n != counted+1 {
			t.Fatalf("Value(count) = %q, %v after a kill, want %d or %d", data, err, counted, counted+1)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	t.Logf("%d claims, counted to %d in %d lives", len(claimed), counted, rounds)
	if len(claimed) < rounds {
		t.Errorf("%d claims were acknowledged in %d lives; the test proves nothing", len(claimed), rounds)
	}
}

// claimAndKill lets a child claim and kills it after some claims, or earlier.
func claimAndKill(t *testing.T, dir string) (claimed []string, counted int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashClaims+"="+dir, "GOCOVERDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { _ = cmd.Process.Kill() }) // it may have ended already
	defer kill()
	if rand.IntN(4) == 0 {
		timer := time.AfterFunc(time.Duration(rand.IntN(100_000))*time.Microsecond, kill)
		defer timer.Stop()
	}
	enough := 1 + rand.IntN(100)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "claimed":
			if claimed = append(claimed, value); len(claimed) == enough {
				kill()
			}
		case "counted":
			if counted, err = strconv.Atoi(value); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("the child said: %s", lines.Text())
		}
	}
	_ = cmd.Wait() // it was killed, which is an error
	return claimed, counted
}
