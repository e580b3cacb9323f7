package async

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/ledger"
)

// Blobs keeps contents that are too large for the ledger, by names of two parts, such as
// iris/01j….payload.
type Blobs interface {
	// Put keeps what r has; it is durable when nil is returned, and there is nothing of it
	// when not. Whose fault that was is not its to say: whoever made r knows.
	Put(name string, r io.Reader) error
	// Open returns what is kept, or fs.ErrNotExist.
	Open(name string) (io.ReadSeekCloser, error)
	// Remove drops what is kept; what is not there is no error.
	Remove(name string) error
	// Each calls fn with every name.
	Each(fn func(name string)) error
}

// Folder keeps contents as files of a folder.
type Folder struct {
	dir  string
	room func(size int) error
}

var _ Blobs = (*Folder)(nil)

// NewFolder returns the contents in a folder, which is made when it is needed.
func NewFolder(dir string) *Folder { return &Folder{dir, func(int) error { return nil }} }

// Within has room refuse to have so many bytes more on the disk.
func (f *Folder) Within(room func(size int) error) *Folder { return &Folder{f.dir, room} }

const part = ".part"

// Put writes a file beside its place and moves it there once it is on the disk.
func (f *Folder) Put(name string, r io.Reader) (err error) {
	path := filepath.Join(f.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path + part) // why it is not kept is known already
		}
	}()
	_, err = io.Copy(&keeping{to: file, room: f.room}, r)
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(path+part, path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Open opens a file.
func (f *Folder) Open(name string) (io.ReadSeekCloser, error) {
	return os.Open(filepath.Join(f.dir, filepath.FromSlash(name)))
}

// Remove removes a file.
func (f *Folder) Remove(name string) error {
	err := os.Remove(filepath.Join(f.dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Each calls fn with the name of every file, of those too that are being written or were
// never whole: their names go on after those of what they are a part of.
func (f *Folder) Each(fn func(name string)) error {
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(f.dir, path)
		if err == nil {
			fn(filepath.ToSlash(name))
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keepError says that a content could not be kept: nothing is wrong with where it came
// from.
type keepError struct{ err error }

func (e *keepError) Error() string { return e.err.Error() }
func (e *keepError) Unwrap() error { return e.err }

func isKeeping(err error) bool {
	var k *keepError
	return errors.As(err, &k)
}

// roomEvery is how many bytes are written until room is asked for again.
const roomEvery = 4 << 20

// keeping writes while there is room.
type keeping struct {
	to    io.Writer
	room  func(int) error
	asked int // bytes that there is room for
}

func (k *keeping) Write(p []byte) (int, error) {
	if k.asked < len(p) {
		if err := k.room(roomEvery); err != nil {
			return 0, err
		}
		k.asked = max(roomEvery, len(p))
	}
	k.asked -= len(p)
	return k.to.Write(p)
}

// maxResult is the largest result that is kept.
const maxResult = 1 << 30

// content is what was read of a request or an answer: in memory if it is small.
type content struct {
	ledger.Content
	inline []byte
}

// tooLargeError says that there is more than there may be.
type tooLargeError struct{ most int64 }

func (e *tooLargeError) Error() string { return fmt.Sprintf("it has more than %d bytes", e.most) }

// keep reads r to its end and keeps what it has: under name, if it is too large for the
// ledger. An error is that of reading r, or a keepError.
func (s *Service) keep(_ context.Context, r io.Reader, name string, most int64) (*content, error) {
	counted := &measured{from: r, most: most, digest: sha256.New()}
	head := make([]byte, 0, 4<<10)
	for len(head) <= ledger.MaxInline {
		if len(head) == cap(head) {
			head = append(head, 0)[:len(head)]
		}
		n, err := counted.Read(head[len(head):min(cap(head), ledger.MaxInline+1)])
		head = head[:len(head)+n]
		if errors.Is(err, io.EOF) {
			return &content{counted.content(""), head}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.cfg.Blobs.Put(name, io.MultiReader(bytes.NewReader(head), counted)); err != nil {
		if counted.failed != nil {
			return nil, counted.failed
		}
		return nil, &keepError{err}
	}
	return &content{counted.content(name), nil}, nil
}

// measured counts and digests what is read, and refuses more than there may be.
type measured struct {
	from   io.Reader
	most   int64
	size   int64
	digest hash.Hash
	failed error // of reading; nil: it has not
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.size += int64(n)
	_, _ = m.digest.Write(p[:n]) // never fails
	if m.size > m.most {
		err = &tooLargeError{m.most}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.failed = err
	}
	return n, err
}

func (m *measured) content(blob string) ledger.Content {
	return ledger.Content{Size: m.size, Digest: hex.EncodeToString(m.digest.Sum(nil)), Blob: blob}
}

func payloadName(api, id string) string { return api + "/" + id + ".payload" }

// resultName has the execution in it: the result of one that was overtaken never takes the
// place of another's.
func resultName(i ledger.Item) string { return i.API + "/" + i.ID + "." + strconv.Itoa(i.Attempt) }

// openPayload opens what a container gets.
func (s *Service) openPayload(ctx context.Context, i ledger.Item) (io.ReadCloser, error) {
	switch {
	case i.Payload == nil:
		return nil, errNotKept
	case i.Payload.Blob != "":
		return s.openBlob(i.Payload)
	}
	data, err := s.cfg.Ledger.Payload(ctx, i.API, i.ID)
	if err != nil {
		return nil, err
	}
	return inMemory(data), nil
}

var errNotKept = errors.New("it is not kept any more")

// openResult opens what a container answered.
func (s *Service) openResult(ctx context.Context, i ledger.Item) (io.ReadSeekCloser, error) {
	if i.Result.Blob != "" {
		return s.openBlob(i.Result)
	}
	data, err := s.cfg.Ledger.Result(ctx, i.API, i.ID)
	if err != nil {
		return nil, err
	}
	return inMemory(data), nil
}

// openBlob opens a content that is kept beside the ledger.
func (s *Service) openBlob(c *ledger.Content) (io.ReadSeekCloser, error) {
	kept, err := s.cfg.Blobs.Open(c.Blob)
	if err != nil {
		return nil, err
	}
	return &checked{ReadSeekCloser: kept, of: c, digest: sha256.New()}, nil
}

// errDamaged says that a content is not what was kept.
var errDamaged = errors.New("it is damaged: it does not match its digest")

// checked reads a content and holds back the end of it unless all of it is what was kept: who
// reads it never has the whole of one that was damaged. What is read from elsewhere than the
// start is not looked at.
type checked struct {
	io.ReadSeekCloser
	of     *ledger.Content
	digest hash.Hash
	at     int64 // -1: it is read from elsewhere
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadSeekCloser.Read(p)
	if c.at < 0 {
		return n, err
	}
	c.at += int64(n)
	_, _ = c.digest.Write(p[:n]) // never fails
	over := errors.Is(err, io.EOF) || c.at >= c.of.Size
	if over && (c.at != c.of.Size || hex.EncodeToString(c.digest.Sum(nil)) != c.of.Digest) {
		return 0, errDamaged
	}
	return n, err
}

// Seek is io.Seeker's.
func (c *checked) Seek(offset int64, whence int) (int64, error) {
	at, err := c.ReadSeekCloser.Seek(offset, whence)
	c.at = -1
	if at == 0 {
		c.at = 0
		c.digest.Reset()
	}
	return at, err
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func inMemory(data []byte) memory { return memory{bytes.NewReader(data)} }

// dropBlob removes a content that nothing refers to any more.
func (s *Service) dropBlob(c *ledger.Content) {
	if c == nil || c.Blob == "" {
		return
	}
	if err := s.cfg.Blobs.Remove(c.Blob); err != nil {
		s.log.Warn("removing a content that is not needed any more", "content", c.Blob, "error", err)
	}
}

// otherPrograms is for how long another program may be accepting or finishing an item of
// which nothing is in the ledger yet.
const otherPrograms = maxTimeout + 24*time.Hour

// sweepBlobs removes contents that no item refers to: of requests that were being
// accepted, and of executions that were ending, when an earlier process died.
func (s *Service) sweepBlobs(ctx context.Context) {
	began := s.began.UnixMilli() // as precise as ids are
	if s.cfg.Others != nil {
		began -= otherPrograms.Milliseconds()
	}
	if err := s.cfg.Blobs.Each(func(name string) {
		api, file, _ := strings.Cut(name, "/")
		id, _, _ := strings.Cut(file, ".")
		if !ledger.LegalID(id) || ledger.TimeOf(id).UnixMilli() >= began { // of this process: it may be on its way to the ledger
			return
		}
		i, err := s.cfg.Ledger.Get(ctx, api, id)
		switch {
		case err != nil && !isOver(err):
			return
		case err == nil && refersTo(i, name):
			return
		case err == nil && i.State.Executing(): // its result may be on its way
			return
		}
		s.dropBlob(&ledger.Content{Blob: name})
	}); err != nil {
		s.log.Warn("looking for contents that no item refers to", "error", err)
	}
}

func refersTo(i ledger.Item, name string) bool {
	return i.Payload != nil && i.Payload.Blob == name || i.Result != nil && i.Result.Blob == name
}

// Compare says how a content differs from what it should be; empty: in nothing.
func (f *Folder) Compare(c *ledger.Content) string {
	from, err := f.Open(c.Blob)
	if err != nil {
		return err.Error()
	}
	defer from.Close()
	digest := sha256.New()
	n, err := io.Copy(digest, from)
	switch {
	case err != nil:
		return err.Error()
	case n != c.Size:
		return fmt.Sprintf("it has %d bytes, and should have %d", n, c.Size)
	case hex.EncodeToString(digest.Sum(nil)) != c.Digest:
		return "it does not match its checksum"
	}
	return ""
}
