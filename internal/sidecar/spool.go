package sidecar

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// spool keeps what is written to it, in memory as long as it is small and in a file that has
// no name otherwise. It is written first and read then, by any number of readers.
type spool struct {
	folder string
	memory bytes.Buffer
	file   *os.File // nil: it is in memory
	size   int64
}

// Write is io.Writer's.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.memory.Len()+len(p) <= answerInMemory {
		s.size += int64(len(p))
		return s.memory.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.folder, "answer-")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := errors.Join(os.Remove(f.Name()), writeAll(f, s.memory.Bytes())); err != nil {
			return 0, err
		}
		s.memory = bytes.Buffer{}
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// open returns what was written, from its beginning.
func (s *spool) open() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.memory.Bytes()), nil
	}
	return io.NewSectionReader(s.file, 0, s.size), nil
}

// drop frees what is kept.
func (s *spool) drop() {
	if s.file != nil {
		_ = s.file.Close() // nobody reads it any more
	}
	s.memory = bytes.Buffer{}
}
