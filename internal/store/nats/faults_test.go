package nats

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
		{errors.New("nats: no space left on device"), "store.disk_full"},
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

// blocks returns the file of each stream that matters, and where its last record begins.
func blocks(t *testing.T, dir string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for stream, prefix := range map[string]string{streamWorkloads: prefixWorkloads, streamHistory: prefixHistory} {
		file := filepath.Join(dir, filepath.FromSlash(streamsDir), stream, "msgs", "1.blk")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hash, at, last := newHash(stream+"-1"), 0, 0
		for at < len(data) {
			n, why := readRecord(hash, prefix, data[at:])
			if why != "" {
				t.Fatalf("the server no longer writes what inspect reads: %s at byte %d %s", file, at, why)
			}
			last, at = at, at+n
		}
		found[file] = last
	}
	return found
}

func TestDamageIsRefusedAndNothingIsChanged(t *testing.T) {
	t.Parallel()
	original := filled(t)
	var damages int
	for file, last := range blocks(t, original) {
		name, err := filepath.Rel(original, file)
		if err != nil {
			t.Fatal(err)
		}
		dir := copyOf(t, original)
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < last; at += 7 {
			bad := bytes.Clone(good)
			bad[at] ^= 0x10
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			damages++
			_, err := Open(t.Context(), Config{Dir: dir})
			wantCode(t, fmt.Sprintf("Open() with byte %d of %s flipped", at, name), err, fault.Unavailable, "store.corrupt", path, "byte")
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
				t.Fatalf("Open() changed a damaged file (%v)", err)
			}
		}
	}
	if damages < 500 {
		t.Errorf("tried %d damages, want at least 500", damages)
	}
}

func TestMissingAndDamagedDescriptions(t *testing.T) {
	t.Parallel()
	original := filled(t)
	overwrite := func(path string) error { return os.WriteFile(path, []byte("nonsense"), 0o600) }
	for _, stream := range []string{streamWorkloads, streamHistory, streamEvents} {
		folder := filepath.Join(filepath.FromSlash(streamsDir), stream)
		for _, tt := range []struct {
			name, path string
			damage     func(string) error
		}{
			{"no folder", folder, os.RemoveAll},
			{"no meta.inf", filepath.Join(folder, "meta.inf"), os.Remove},
			{"no meta.sum", filepath.Join(folder, "meta.sum"), os.Remove},
			{"bad meta.inf", filepath.Join(folder, "meta.inf"), overwrite},
			{"bad meta.sum", filepath.Join(folder, "meta.sum"), overwrite},
		} {
			dir := copyOf(t, original)
			if err := tt.damage(filepath.Join(dir, tt.path)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), Config{Dir: dir})
			wantCode(t, stream+": "+tt.name, err, fault.Unavailable, "store.corrupt", stream)
		}
	}
}

func TestUnfinishedLastWriteIsDropped(t *testing.T) {
	t.Parallel()
	original := filled(t)
	file := filepath.Join(filepath.FromSlash(streamsDir), streamWorkloads, "msgs", "1.blk")
	last := blocks(t, original)[filepath.Join(original, file)]
	data, err := os.ReadFile(filepath.Join(original, file))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)-1] ^= 1
	for name, bad := range map[string][]byte{
		"nothing of it":       data[:last],
		"one byte of it":      data[:last+1],
		"a header of it":      data[:last+recordHeader],
		"all but a byte":      data[:len(data)-1],
		"its length as zeros": append(bytes.Clone(data[:last]), make([]byte, len(data)-last)...),
		"a wrong checksum":    flipped,
	} {
		dir := copyOf(t, original)
		if err := os.WriteFile(filepath.Join(dir, file), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, Config{Dir: dir})
		list, err := s.List(t.Context())
		if err != nil || len(list) != 5 {
			t.Errorf("%s: List() = %d, %v, want the 5 that were finished", name, len(list), err)
		}
		if _, err := s.Put(t.Context(), storetest.Sample("w5", 1)); err != nil {
			t.Errorf("%s: Put() afterwards = %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if list, err := open(t, Config{Dir: dir}).List(t.Context()); err != nil || len(list) != 6 {
			t.Errorf("%s: List() after that and reopening = %d, %v, want 6", name, len(list), err)
		}
	}
}

func TestIndexesOfTheServerMayBeLost(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	for _, stream := range []string{streamWorkloads, streamHistory, streamEvents} {
		index := filepath.Join(dir, filepath.FromSlash(streamsDir), stream, "msgs", "index.db")
		if err := os.WriteFile(index, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{Dir: dir})
	if list, err := s.List(t.Context()); err != nil || len(list) != 6 {
		t.Errorf("List() = %d, %v, want 6", len(list), err)
	}
	if h, err := s.History(t.Context(), "w3"); err != nil || len(h) != 1 {
		t.Errorf("History(w3) = %d, %v, want 1", len(h), err)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	for text, code := range map[string]string{"2\n": "store.too_new", "": "store.corrupt", "x": "store.corrupt"} {
		if err := os.WriteFile(filepath.Join(dir, formatFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Dir: dir})
		wantCode(t, fmt.Sprintf("Open() with format %q", text), err, fault.Unavailable, code, dir)
	}
}

// TestInterruptedSetUp opens a folder whose first Open died between its steps.
func TestInterruptedSetUp(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	if err := os.Remove(filepath.Join(dir, formatFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, filepath.FromSlash(streamsDir), streamEvents)); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	if list, err := s.List(t.Context()); err != nil || len(list) != 6 {
		t.Errorf("List() = %d, %v, want 6", len(list), err)
	}
}

func FuzzRecords(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(f.Context(), Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Put(f.Context(), storetest.Sample("iris", 1)); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(streamsDir), streamWorkloads, "msgs", "1.blk"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(bytes.Clone(good), good...))
	f.Add(make([]byte, 100))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		const key = streamWorkloads + "-1"
		at, why := firstBadRecord(key, prefixWorkloads, data)
		if at < 0 || at > len(data) || (why == "") != (at == len(data)) {
			t.Errorf("firstBadRecord() of %d bytes = %d, %q", len(data), at, why)
		}
		torn(key, prefixWorkloads, data[at:])
	})
}
