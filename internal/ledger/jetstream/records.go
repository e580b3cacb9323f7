package jetstream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// subjectRecord is what the subjects of Records begin with; the parts of a key follow.
const subjectRecord = "b"

// maxRecords is how many records one write may change: the server's bound of a batch.
const maxRecords = 900

// Records keeps small records by their keys, of one program that writes them at a time. It
// is a jobs.Records. The parts of a key are between slashes and zero bytes.
type Records struct{ l *Ledger }

// Records are kept in the stream of the items.
func (l *Ledger) Records() Records { return Records{l} }

// subject is where a key's record is. It is the same for a prefix that ends with a part.
func (r Records) subject(key string) (string, error) {
	parts := strings.FieldsFunc(key, isBetween)
	if len(parts) == 0 || strings.ContainsAny(key, ".*> \t\r\n") {
		return "", fmt.Errorf("jetstream: %q is no key of a record", key)
	}
	return r.l.cfg.Name + "." + subjectRecord + "." + strings.Join(parts, "."), nil
}

func isBetween(c rune) bool { return c == '/' || c == 0 }

// key is the key of a subject: its first part is before a slash, the others between zero
// bytes.
func (r Records) key(subject string) string {
	text := strings.TrimPrefix(subject, r.l.cfg.Name+"."+subjectRecord+".")
	first, rest, _ := strings.Cut(text, ".")
	return first + "/" + strings.ReplaceAll(rest, ".", "\x00")
}

// Write makes changes, all or none, and returns when they are kept; what is nil is removed,
// after the rest.
func (r Records) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	var kept []*nats.Msg
	var gone []string
	for key, data := range changes {
		subject, err := r.subject(key)
		if err != nil {
			return err
		}
		if data == nil {
			gone = append(gone, subject)
		} else {
			kept = append(kept, unconditional(subject, data))
		}
	}
	if len(kept) > maxRecords {
		return fmt.Errorf("%s: %d records at once, and %d is the most", doing, len(kept), maxRecords)
	}
	if len(kept) > 0 {
		if err := r.l.commit(ctx, kept...); err != nil {
			return unavailable(doing, err)
		}
	}
	for _, subject := range gone {
		if err := r.l.purge(ctx, subject); err != nil {
			return err
		}
	}
	return nil
}

// Get returns a record; nil: there is none.
func (r Records) Get(ctx context.Context, key string) ([]byte, error) {
	subject, err := r.subject(key)
	if err != nil {
		return nil, err
	}
	m, err := r.l.last(ctx, subject)
	if m == nil || err != nil {
		return nil, err
	}
	return m.Data, nil
}

// Scan calls fn with every record whose key begins with prefix, which ends with a part, in
// the order of the keys.
func (r Records) Scan(ctx context.Context, prefix string, fn func(key string, data []byte) error) error {
	subject, err := r.subject(prefix)
	if err != nil {
		return err
	}
	all := map[string][]byte{}
	var keys []string
	if err := r.l.scanWhole(ctx, subject+".>", func(m jetstream.Msg) error {
		key := r.key(m.Subject())
		if _, again := all[key]; !again {
			keys = append(keys, key)
		}
		all[key] = m.Data() // the later is the later one
		return nil
	}); err != nil {
		return err
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := fn(key, all[key]); err != nil {
			return err
		}
	}
	return nil
}
