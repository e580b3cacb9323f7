package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// shared returns s as what replicas share.
func shared(t *testing.T, s store.Store) store.Shared {
	t.Helper()
	sh, ok := s.(store.Shared)
	if !ok {
		t.Fatalf("%T does not implement store.Shared", s)
	}
	return sh
}

// RunReplicas runs the tests of a Store that can be opened more than once at a
// time, beside those of Run: what one does, the others see.
func RunReplicas(t *testing.T, newState func(t *testing.T) Open) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(t *testing.T, a, b store.Store)
	}{
		{"OneClaimAmongReplicas", func(t *testing.T, a, b store.Store) { testOneClaim(t, shared(t, a), shared(t, b)) }},
		{"ValuesAmongReplicas", func(t *testing.T, a, b store.Store) { testManySetters(t, shared(t, a), shared(t, b)) }},
		{"WorkloadsAmongReplicas", testReplicasSeeWorkloads},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			open := newState(t)
			a := open(t)
			t.Cleanup(func() { closeStore(t, a) })
			b := open(t)
			t.Cleanup(func() { closeStore(t, b) })
			tt.test(t, a, b)
		})
	}
}

func testReplicasSeeWorkloads(t *testing.T, a, b store.Store) {
	changes, stop := watch(t, b)
	wantMarker(t, next(t, changes))
	first := mustPut(t, a, Sample("iris", 1))
	wantChange(t, next(t, changes), "iris", first.Version)
	if w, err := b.Get(t.Context(), "iris"); err != nil || w.Version != first.Version {
		t.Errorf("Get(iris) of the other = version %d, %v, want %d", w.Version, err, first.Version)
	}
	second := mustPut(t, b, first)
	wantChange(t, next(t, changes), "iris", second.Version)
	_, err := a.Put(t.Context(), first)
	wantFault(t, "Put(iris) at a version that the other has replaced", err, fault.Conflict, store.CodeVersionConflict)
	if err := a.Delete(t.Context(), "iris", second.Version, false); err != nil {
		t.Fatalf("Delete(iris) = %v", err)
	}
	if c := next(t, changes); c.Name != "iris" || c.Workload != nil {
		t.Errorf("Watch() told %+v, want the deletion of iris", c)
	}
	stop()
}

func testClaim(t *testing.T, s store.Store) { testOneClaim(t, shared(t, s)) }

// testOneClaim has many claim each of some keys at once.
func testOneClaim(t *testing.T, stores ...store.Shared) {
	const keys, claimers = 10, 16
	won := make([]atomic.Int32, keys)
	var wg sync.WaitGroup
	for c := range claimers {
		wg.Go(func() {
			for k := range keys {
				err := stores[c%len(stores)].Claim(t.Context(), fmt.Sprint("key-", k), time.Minute)
				if err == nil {
					won[k].Add(1)
					continue
				}
				wantFault(t, "Claim() of a key that is taken", err, fault.Conflict, store.CodeAlreadyClaimed)
			}
		})
	}
	wg.Wait()
	for k := range keys {
		if n := won[k].Load(); n != 1 {
			t.Errorf("%d of %d claimers of key-%d got it, want 1", n, claimers, k)
		}
	}
}

func testClaimExpires(t *testing.T, s store.Store) {
	sh, ctx := shared(t, s), within(t)
	for _, key := range []string{"short", "long"} {
		ttl := time.Second
		if key == "long" {
			ttl = store.MaxClaim
		}
		if err := sh.Claim(ctx, key, ttl); err != nil {
			t.Fatalf("Claim(%s) = %v", key, err)
		}
	}
	// A fraction of a second is rounded up, never down.
	begun := time.Now()
	if err := sh.Claim(ctx, "fraction", 1001*time.Millisecond); err != nil {
		t.Fatalf("Claim(fraction) = %v", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, key := range []string{"short", "fraction"} {
		for {
			err := sh.Claim(ctx, key, time.Minute)
			if err == nil {
				break
			}
			wantFault(t, "Claim() of a key that is taken", err, fault.Conflict, store.CodeAlreadyClaimed)
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("Claim(%s) is still refused after a minute", key)
			}
		}
	}
	// Measured from before the claim was made, so that only one that ended early fails.
	if took := time.Since(begun); took < 1001*time.Millisecond {
		t.Errorf("a claim of 1001 ms was over after %v", took)
	}
	err := sh.Claim(ctx, "long", time.Second)
	wantFault(t, "Claim(long) when shorter ones are over", err, fault.Conflict, store.CodeAlreadyClaimed)
}

func testClaimBounds(t *testing.T, s store.Store) {
	sh := shared(t, s)
	for _, ttl := range []time.Duration{-1, 0, store.MaxClaim + 1} {
		if err := sh.Claim(t.Context(), "key", ttl); !fault.Is(err, fault.Invalid) {
			t.Errorf("Claim(for %v) = %v, want an invalid fault", ttl, err)
		}
	}
	for _, ttl := range []time.Duration{1, store.MaxClaim} {
		if err := sh.Claim(t.Context(), fmt.Sprint("key-", int(ttl)), ttl); err != nil {
			t.Errorf("Claim(for %v) = %v", ttl, err)
		}
	}
}

func testSharedNames(t *testing.T, s store.Store) {
	sh := shared(t, s)
	for _, key := range []string{"", "*", ">", "a.b", "a b", "Ä", "a/b", "a=b", "a\x00", "$SYS", "a\n", strings.Repeat("x", store.MaxKey+1)} {
		wantFault(t, fmt.Sprintf("Claim(%q)", key), sh.Claim(t.Context(), key, time.Minute), fault.Invalid, store.CodeIllegalName)
		_, _, err := sh.Value(t.Context(), key)
		wantFault(t, fmt.Sprintf("Value(%q)", key), err, fault.Invalid, store.CodeIllegalName)
		_, err = sh.SetValue(t.Context(), key, nil, 0)
		wantFault(t, fmt.Sprintf("SetValue(%q)", key), err, fault.Invalid, store.CodeIllegalName)
	}
	for _, key := range []string{"a", "A", "_", "-", "0", "aZ09_-", strings.Repeat("x", store.MaxKey)} {
		if err := sh.Claim(t.Context(), key, time.Minute); err != nil {
			t.Errorf("Claim(%q) = %v", key, err)
		}
		if _, err := sh.SetValue(t.Context(), key, []byte(key), 0); err != nil {
			t.Errorf("SetValue(%q) = %v", key, err)
		}
		if data, _, err := sh.Value(t.Context(), key); err != nil || string(data) != key {
			t.Errorf("Value(%q) = %q, %v, want its name", key, data, err)
		}
	}
}

func testValues(t *testing.T, s store.Store) {
	sh := shared(t, s)
	if data, version, err := sh.Value(t.Context(), "v"); data != nil || version != 0 || err != nil {
		t.Errorf("Value(v) = %q at %d, %v before it was set, want nil at 0", data, version, err)
	}
	_, err := sh.SetValue(t.Context(), "v", []byte("x"), 7)
	wantFault(t, "SetValue(v at 7) before it was set", err, fault.Conflict, store.CodeVersionConflict)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var last store.Version
	for _, data := range [][]byte{[]byte("one"), {}, nil, all, []byte("{}"), bytes.Repeat([]byte{0xff}, store.MaxValue)} {
		version, err := sh.SetValue(t.Context(), "v", data, last)
		if err != nil || version <= last {
			t.Fatalf("SetValue(v at %d) = %d, %v, want a greater version", last, version, err)
		}
		for _, at := range []store.Version{0, last, version + 1} {
			_, err := sh.SetValue(t.Context(), "v", []byte("other"), at)
			wantFault(t, fmt.Sprintf("SetValue(v at %d) though it is at %d", at, version), err, fault.Conflict, store.CodeVersionConflict)
		}
		got, at, err := sh.Value(t.Context(), "v")
		if err != nil || at != version || got == nil || !bytes.Equal(got, data) {
			t.Errorf("Value(v) = %d bytes at %d, %v, want %d at %d", len(got), at, err, len(data), version)
		}
		last = version
	}
	_, err = sh.SetValue(t.Context(), "v", make([]byte, store.MaxValue+1), last)
	wantFault(t, "SetValue(v) with too much", err, fault.Invalid, "store.too_large")
	if data, _, err := sh.Value(t.Context(), "other"); data != nil || err != nil {
		t.Errorf("Value(other) = %q, %v, want nothing", data, err)
	}
}

func testSetters(t *testing.T, s store.Store) { testManySetters(t, shared(t, s)) }

// testManySetters has many add their number to one value; none may be lost.
func testManySetters(t *testing.T, stores ...store.Shared) {
	const setters, each = 6, 10
	var wg sync.WaitGroup
	for n := range setters {
		wg.Go(func() {
			sh := stores[n%len(stores)]
			for done := 0; done < each; {
				data, version, err := sh.Value(t.Context(), "v")
				if err != nil {
					t.Errorf("Value(v) = %v", err)
					return
				}
				switch _, err := sh.SetValue(t.Context(), "v", append(slices.Clone(data), byte(n)), version); {
				case err == nil:
					done++
				case fault.Code(err) != store.CodeVersionConflict:
					t.Errorf("SetValue(v) = %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	data, _, err := stores[0].Value(t.Context(), "v")
	if err != nil || len(data) != setters*each {
		t.Errorf("Value(v) = %d bytes, %v, want %d: one for each write", len(data), err, setters*each)
	}
}

// testSharedReopen wants claims and values to outlive the store, and a claim to
// end when it would have.
func testSharedReopen(t *testing.T, open Open) {
	s := open(t)
	first := shared(t, s)
	if err := first.Claim(t.Context(), "Key_1", store.MaxClaim); err != nil {
		t.Fatalf("Claim(Key_1) = %v", err)
	}
	if err := first.Claim(t.Context(), "short", time.Second); err != nil {
		t.Fatalf("Claim(short) = %v", err)
	}
	version, err := first.SetValue(t.Context(), "v", []byte("data"), 0)
	if err != nil {
		t.Fatalf("SetValue(v) = %v", err)
	}
	closeStore(t, s)

	s = open(t)
	t.Cleanup(func() { closeStore(t, s) })
	again := shared(t, s)
	err = again.Claim(t.Context(), "Key_1", time.Minute)
	wantFault(t, "Claim(Key_1) after reopening", err, fault.Conflict, store.CodeAlreadyClaimed)
	if data, at, err := again.Value(t.Context(), "v"); err != nil || string(data) != "data" || at != version {
		t.Errorf("Value(v) after reopening = %q at %d, %v, want data at %d", data, at, err, version)
	}
	if next, err := again.SetValue(t.Context(), "v", nil, version); err != nil || next <= version {
		t.Errorf("SetValue(v at %d) after reopening = %d, %v, want a greater version", version, next, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := within(t); ; {
		err := again.Claim(ctx, "short", time.Minute)
		if err == nil {
			return
		}
		wantFault(t, "Claim(short) after reopening", err, fault.Conflict, store.CodeAlreadyClaimed)
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("Claim(short) is still refused a minute after reopening")
		}
	}
}
