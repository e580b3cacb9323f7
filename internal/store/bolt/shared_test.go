package bolt

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
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
	s := open(t, Config{Dir: t.TempDir(), claims: 3, settle: 1})
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

// A clock that was ahead for a while, over restarts, must not have made anything
// forgotten: what is over for it is over for nobody else.
func TestNothingIsForgottenSoonAfterAStart(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir(), claims: 2})
	for _, key := range []string{"over", "again"} {
		if err := s.Claim(t.Context(), key, time.Second); err != nil {
			t.Fatalf("Claim(%s) = %v", key, err)
		}
	}
	// Its own name can be taken again when it is over; then so is the one before it.
	soon(t, func() bool { return s.Claim(t.Context(), "again", time.Minute) == nil })
	err := s.Claim(t.Context(), "other", time.Minute)
	wantCode(t, "Claim(other) when none may be forgotten yet", err, fault.Unavailable, "store.claims_full")
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

// claimUntilKilled takes claims, lets others end, and counts in a value. It says on
// standard output what was acknowledged.
func claimUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir, settle: 1})
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
		} else {
			counted = n // the next life begins there, and may be killed before it says anything
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
