package bolt

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
)

func wantCode(t *testing.T, what string, err error, kind fault.Kind, code string, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) || fault.Code(err) != code {
		t.Fatalf("%s = %v (code %q), want a %s fault with code %s", what, err, fault.Code(err), kind, code)
	}
	if fault.From(err).Hint == "" {
		t.Errorf("%s = %v does not say what to do", what, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s = %v, want it to name %q", what, err, word)
		}
	}
}

func TestOneFolderOneStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	wantCode(t, "Open() of a folder in use", err, fault.Conflict, "store.state_in_use", fmt.Sprintf("process %d", os.Getpid()), dir)
	if _, err := s.Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Errorf("Put() after a refused Open = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	again := open(t, Config{Dir: dir})
	if _, err := again.Get(t.Context(), "iris"); err != nil {
		t.Errorf("Get(iris) after reopening = %v", err)
	}
}

func TestCallsAfterCloseAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir()})
	watching := make(chan error, 1)
	marked := make(chan struct{})
	go func() { watching <- s.Watch(t.Context(), func(store.Change) { close(marked) }) }()
	<-marked
	if err := s.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	if err := <-watching; fault.Code(err) != "store.closed" {
		t.Errorf("Watch() = %v after Close, want store.closed", err)
	}
	if _, err := s.List(t.Context()); fault.Code(err) != "store.closed" {
		t.Errorf("List() = %v after Close, want store.closed", err)
	}
}

func TestFoldersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := Open(t.Context(), Config{Dir: dir})
		wantCode(t, "Open("+dir+")", err, fault.Unavailable, "store.not_a_folder", dir)
	}
}

func TestFolderFaultsNameTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		code string
	}{
		{&fs.PathError{Op: "open", Path: "/s/x", Err: syscall.EACCES}, "store.not_writable"},
		{&fs.PathError{Op: "open", Path: "/s/x", Err: syscall.EPERM}, "store.not_writable"},
		{&fs.PathError{Op: "open", Path: "/s/x", Err: syscall.EROFS}, "store.not_writable"},
		{&fs.PathError{Op: "open", Path: "/s/x", Err: syscall.ENOTDIR}, "store.not_a_folder"},
		{&fs.PathError{Op: "write", Path: "/s/x", Err: syscall.ENOSPC}, "store.disk_full"},
		{&fs.PathError{Op: "write", Path: "/s/x", Err: syscall.EDQUOT}, "store.disk_full"},
		{&fs.PathError{Op: "read", Path: "/s/x", Err: syscall.EIO}, "store.unreadable"},
	} {
		wantCode(t, fmt.Sprintf("folderFault(%v)", tt.err), folderFault("/s/x", tt.err), fault.Unavailable, tt.code, "/s")
	}
}

// filled is a closed folder with records of every sort.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	for i := range 6 {
		w := storetest.Sample(fmt.Sprintf("w%d", i), i)
		if _, err := s.Put(t.Context(), w); err != nil {
			t.Fatalf("Put() = %v", err)
		}
		if err := s.Remember(t.Context(), store.Past{Revision: w.Revision, Cause: "deploy"}); err != nil {
			t.Fatalf("Remember() = %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	return dir
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDamageIsNoticedOrDoesNoHarm flips bytes all over the file. Either Open refuses it
// and leaves it as it is, or everything that was acknowledged is there.
func TestDamageIsNoticedOrDoesNoHarm(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	want := everything(t, open(t, Config{Dir: copyOf(t, dir)}))
	good, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	refused, harmless := 0, 0
	for at := 0; at < len(good); at += 13 {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		if damagedIsSafe(t, bad, want, fmt.Sprintf("byte %d flipped", at)) {
			refused++
		} else {
			harmless++
		}
	}
	for end := 0; end < len(good); end += 509 {
		if !damagedIsSafe(t, good[:end], want, fmt.Sprintf("cut after %d bytes", end)) {
			harmless++
		}
	}
	for at := 0; at < len(good); at += 512 {
		bad := bytes.Clone(good)
		clear(bad[at:min(at+512, len(bad))])
		damagedIsSafe(t, bad, want, fmt.Sprintf("a sector of zeros at %d", at))
	}
	t.Logf("%d flips were refused, %d did no harm, in %d bytes", refused, harmless, len(good))
	if refused < 1000 {
		t.Errorf("%d flips were refused; the test proves nothing", refused)
	}
}

// damagedIsSafe opens a folder with that file and reports whether it was refused.
func damagedIsSafe(t *testing.T, data []byte, want, what string) (refused bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), stateFile)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := verify(t.Context(), path)
	if err == nil {
		// Opening waits for the disk; most of what does no harm is in unused bytes.
		if rand.IntN(50) > 0 {
			return false
		}
		s, err := Open(t.Context(), Config{Dir: filepath.Dir(path)})
		if err != nil {
			t.Fatalf("Open() with %s = %v after it was verified", what, err)
		}
		if got := everything(t, s); got != want {
			t.Fatalf("with %s the state is silently another:\n%s\nwant\n%s", what, got, want)
		}
		if _, err := s.SetValue(t.Context(), "more", []byte("x"), 0); err != nil {
			t.Fatalf("SetValue() with %s = %v", what, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return false
	}
	wantCode(t, "with "+what, err, fault.Unavailable, "store.corrupt", path)
	return true
}

// everything is the whole state as text.
func everything(t *testing.T, s *Store) string {
	t.Helper()
	var text strings.Builder
	if err := s.view(func(r *reader) error {
		return r.scan("", "", func(key, data []byte) (bool, error) {
			fmt.Fprintf(&text, "%q %x\n", key, data)
			return true, nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestOpenLeavesADamagedFileAsItIs(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	path := filepath.Join(dir, stateFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[pageHeader+20] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Dir: dir})
	wantCode(t, "Open() of a damaged file", err, fault.Unavailable, "store.corrupt", path)
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
		t.Errorf("Open() changed a damaged file (%v)", err)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	db, err := openFile(filepath.Join(dir, stateFile), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		return putSummary(tx.Bucket(bucket), summary{Format: formatLogged + 1})
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Dir: dir})
	wantCode(t, "Open() of a newer format", err, fault.Unavailable, "store.too_new")

	old := t.TempDir()
	if err := os.Mkdir(filepath.Join(old, oldFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Dir: old})
	wantCode(t, "Open() of an older format", err, fault.Unavailable, "store.too_old", old)
	if _, err := os.Stat(filepath.Join(old, stateFile)); err == nil {
		t.Error("Open() began a new state beside an old one")
	}
}

// TestInterruptedCreation opens a folder whose first Open died half way.
func TestInterruptedCreation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile+".part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Config{Dir: dir}).Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Errorf("Put() = %v", err)
	}
}

// TestADeletedFileIsNoticed wants a refusal: a write to a file that has no name is lost.
func TestADeletedFileIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), storetest.Sample("iris", 1))
	wantCode(t, "Put() after the file was deleted", err, fault.Unavailable, "store.unavailable", dir)
}
