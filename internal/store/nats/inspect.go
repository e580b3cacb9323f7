package nats

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

const codeCorrupt = "store.corrupt"

// The server repairs damaged files by cutting off what it cannot read, and forgets
// a stream whose description is damaged. That is the right thing for a cluster that
// has copies and the wrong one here: so every file is read before the server sees
// it. This is the one place that knows how the server lays out its files; the tests
// damage each of them, and so notice when a new server lays them out differently.
const (
	recordHeader = 22 // length 4, sequence 8, time 8, length of the subject 2
	recordHash   = 8
	headersBit   = 1 << 31
)

// found says which parts of the state were set up before.
type found struct {
	workloads bool // with history and events
	shared    bool
	claims    bool
}

// inspect checks the folder without changing it, and says what was set up before.
func inspect(dir string, log *slog.Logger) (known found, err error) {
	if known.workloads, err = readFormat(dir); err != nil {
		return found{}, err
	}
	if err := accessible(dir); err != nil {
		return found{}, err
	}
	if !known.workloads {
		return found{}, nil
	}
	streams := filepath.Join(dir, filepath.FromSlash(streamsDir))
	for _, stream := range []struct{ name, prefix string }{
		{streamWorkloads, prefixWorkloads}, {streamHistory, prefixHistory},
		{streamEvents, ""}, // may be lost, so what the server rescues is good enough
	} {
		if err := inspectStream(streams, stream.name, stream.prefix, log); err != nil {
			return found{}, err
		}
	}
	// A folder of an earlier version has none of what follows.
	if _, err := os.Stat(filepath.Join(dir, sharedFile)); errors.Is(err, fs.ErrNotExist) {
		return known, nil
	} else if err != nil {
		return found{}, folderFault(dir, err)
	}
	if err := inspectStream(streams, streamShared, prefixShared, log); err != nil {
		return found{}, err
	}
	known.shared = true
	claims := filepath.Join(streams, streamClaims)
	if _, err := os.Stat(claims); errors.Is(err, fs.ErrNotExist) {
		return known, nil // somebody did what the hint below says
	}
	if err := inspectStream(streams, streamClaims, prefixClaims, log); err != nil {
		if fault.Code(err) == codeCorrupt {
			err = fault.From(err).WithHint("nothing was changed. Claims last %v at most: that long after the operator stopped, delete the folder %s and start it again", store.MaxClaim, claims)
		}
		return found{}, err
	}
	known.claims = true
	return known, nil
}

// inspectStream reads the description of a stream and, when the prefix of its
// subjects is given, every record.
func inspectStream(dir, stream, prefix string, log *slog.Logger) error {
	path := filepath.Join(dir, stream)
	if err := inspectDescription(path, stream); err != nil || prefix == "" {
		return err
	}
	return inspectBlocks(path, stream, prefix, log)
}

// accessible refuses a folder of which this user cannot read and write everything.
func accessible(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return folderFault(path, err)
		}
		mode := uint32(unix.R_OK | unix.W_OK)
		if entry.IsDir() {
			mode |= unix.X_OK
		}
		if err := unix.Access(path, mode); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return folderFault(path, err)
		}
		return nil
	})
}

func inspectDescription(path, stream string) error {
	file := filepath.Join(path, "meta.inf")
	data, err := os.ReadFile(file)
	if err == nil {
		var sum []byte
		if sum, err = os.ReadFile(filepath.Join(path, "meta.sum")); err == nil {
			if hex.EncodeToString(checksum(stream, data)) != string(sum) {
				return corrupt(file, "its checksum is wrong")
			}
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(path, "a file is missing")
	}
	return folderFault(file, err)
}

// inspectBlocks reads every record of a stream.
func inspectBlocks(path, stream, prefix string, log *slog.Logger) error {
	entries, err := os.ReadDir(filepath.Join(path, "msgs"))
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(path, "a folder is missing")
	}
	if err != nil {
		return folderFault(path, err)
	}
	var blocks []int
	for _, entry := range entries {
		if number, ok := strings.CutSuffix(entry.Name(), ".blk"); ok {
			if n, err := strconv.Atoi(number); err == nil {
				blocks = append(blocks, n)
			}
		}
	}
	slices.Sort(blocks)
	for i, n := range blocks {
		file := filepath.Join(path, "msgs", strconv.Itoa(n)+".blk")
		data, err := os.ReadFile(file)
		if err != nil {
			return folderFault(file, err)
		}
		key := fmt.Sprintf("%s-%d", stream, n)
		at, why := firstBadRecord(key, prefix, data)
		if why == "" {
			continue
		}
		if i == len(blocks)-1 && torn(key, prefix, data[at:]) {
			// The write that was under way when the power went; nobody was told that it succeeded.
			log.Warn("store: an unfinished write is dropped", "file", file, "at", at)
			continue
		}
		return corrupt(file, "the record at byte %d %s", at, why)
	}
	return nil
}

// firstBadRecord returns where the first record begins that cannot be read, and why.
func firstBadRecord(key, prefix string, data []byte) (at int, why string) {
	hash := newHash(key)
	for at < len(data) {
		length, why := readRecord(hash, prefix, data[at:])
		if why != "" {
			return at, why
		}
		at += length
	}
	return at, ""
}

// readRecord returns the length of the record at the start of data, or what is
// wrong with it.
func readRecord(hash hash, prefix string, data []byte) (length int, why string) {
	if len(data) < recordHeader {
		return 0, "is cut off"
	}
	word := binary.LittleEndian.Uint32(data)
	length = int(word &^ headersBit)
	subject, headers := int(binary.LittleEndian.Uint16(data[20:])), 0
	if word&headersBit != 0 {
		headers = 4
	}
	if length < recordHeader+subject+headers+recordHash {
		return 0, "has an impossible length"
	}
	if length > len(data) {
		return 0, "is cut off"
	}
	body := data[recordHeader : length-recordHash]
	hash.Reset()
	_, _ = hash.Write(data[4:20]) // a hash never fails
	_, _ = hash.Write(body[:subject])
	_, _ = hash.Write(body[subject+headers:])
	if !bytes.Equal(hash.Sum(nil), data[length-recordHash:length]) {
		return 0, "has a wrong checksum"
	}
	if !plausible(prefix, body[:subject], body[subject:], headers > 0) {
		return 0, "is divided at the wrong place"
	}
	return length, ""
}

// plausible checks what the checksum does not cover: where the subject, the
// headers and the content end. A record without any of them marks a deletion.
func plausible(prefix string, subject, rest []byte, headers bool) bool {
	if len(subject) == 0 && len(rest) == 0 {
		return true
	}
	legal := legalName()
	if prefix == prefixShared || prefix == prefixClaims {
		legal = legalKey()
	}
	name, ok := bytes.CutPrefix(subject, []byte(prefix))
	if !ok || !legal.Match(name) {
		return false
	}
	if headers {
		n := uint64(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		if n > uint64(len(rest)) || !bytes.HasPrefix(rest[:n], []byte("NATS/1.0")) || !bytes.HasSuffix(rest[:n], []byte("\r\n\r\n")) {
			return false
		}
		rest = rest[n:]
	}
	return len(rest) == 0 || rest[0] == '{' && rest[len(rest)-1] == '}'
}

// torn reports whether the bad end of the last file can be one unfinished write:
// whether no good record follows.
func torn(key, prefix string, end []byte) bool {
	hash := newHash(key)
	for at := 1; at < len(end); at++ {
		if _, why := readRecord(hash, prefix, end[at:]); why == "" {
			return false
		}
	}
	return true
}

type hash interface {
	Write([]byte) (int, error)
	Sum([]byte) []byte
	Reset()
}

func newHash(key string) hash {
	k := sha256.Sum256([]byte(key))
	h, err := highwayhash.NewDigest64(k[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return h
}

func checksum(key string, data []byte) []byte {
	h := newHash(key)
	_, _ = h.Write(data) // a hash never fails
	return h.Sum(nil)
}
