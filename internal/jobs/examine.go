package jobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Examination compares the files of jobs with what their records say of them. It changes
// nothing.
type Examination struct {
	records map[key]record
	chunks  map[key]int
}

// NewExamination returns one that has seen no record.
func NewExamination() *Examination {
	return &Examination{records: map[key]record{}, chunks: map[key]int{}}
}

// Jobs is how many jobs it has seen.
func (e *Examination) Jobs() int { return len(e.records) }

// SubjectOf says what a record is about, by its key.
func SubjectOf(text string) (what, api, job string) {
	kind, rest, _ := strings.Cut(text, "/")
	api, rest, _ = strings.Cut(rest, "\x00")
	job, _, _ = strings.Cut(rest, "\x00")
	switch kind {
	case "c":
		return "batches", api, job
	case "f":
		return "file", api, job
	}
	return "job", api, job
}

// Visit sees a record.
func (e *Examination) Visit(text string, data []byte) {
	what, api, id := SubjectOf(text)
	k := key{api, id}
	if what == "batches" {
		e.chunks[k]++
	}
	var r record
	if what == "job" && json.Unmarshal(data, &r) == nil {
		r.Config = nil // it may be large
		e.records[k] = r
	}
}

// Files calls found with each file of a job that is not what it should be.
func (e *Examination) Files(f Folder, found func(api, job, file, text string)) {
	var keys []key
	for k := range e.records {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(strings.Compare(a.api, b.api), strings.Compare(a.id, b.id)) })
	for _, k := range keys {
		r := e.records[k]
		if n := (r.Batches + chunkSize - 1) / chunkSize; n != e.chunks[k] {
			found(k.api, k.id, "", fmt.Sprintf("of %d batches there are %d records, want %d", r.Batches, e.chunks[k], n))
		}
		sums := map[string]string{}
		switch data, err := os.ReadFile(f.path(k.file(fileManifest))); {
		case errors.Is(err, os.ErrNotExist): // of one that goes on
		case err != nil:
			found(k.api, k.id, fileManifest, err.Error())
		default:
			var m manifest
			if err := json.Unmarshal(data, &m); err != nil {
				found(k.api, k.id, fileManifest, "it is not what was written: "+err.Error())
			}
			for _, file := range m.Files {
				sums[file.Name] = file.SHA256
			}
		}
		for _, file := range []struct {
			name string
			size int64
		}{{fileItems, r.ItemBytes}, {fileOutput, r.OutputBytes}, {fileErrors, r.ErrorBytes}} {
			sum := sums[file.name]
			if r.Ended.IsZero() {
				sum = "" // of an end that was not written down
			}
			if text := compare(f.path(k.file(file.name)), file.size, sum); text != "" {
				found(k.api, k.id, file.name, text)
			}
		}
	}
}

// compare says what is wrong with the first bytes of a file; an empty sum is any.
func compare(path string, size int64, sum string) string {
	if size == 0 {
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err.Error()
	case info.Size() < size:
		return fmt.Sprintf("it has %d bytes, and should have %d", info.Size(), size)
	case sum == "":
		return ""
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, io.LimitReader(file, size)); err != nil {
		return err.Error()
	}
	if hex.EncodeToString(digest.Sum(nil)) != sum {
		return "it does not match its checksum"
	}
	return ""
}
