package crd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"cortex.dev/cortex/internal/workload"
)

// SpecHash names a specification by its content: SHA-256, in hex. The order of its
// keys, whitespace and the form of its numbers do not count, because the API server
// keeps neither; a null does count, as it may mean something else than an absent key.
// An absent specification has the hash of an empty one.
func SpecHash(spec json.RawMessage) (string, error) {
	if len(spec) == 0 {
		spec = json.RawMessage("{}")
	}
	v, err := decode(spec)
	if err != nil {
		return "", fmt.Errorf("reading the specification: %w", err)
	}
	text, err := json.Marshal(plain(v))
	if err != nil {
		return "", fmt.Errorf("writing the specification: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// SpecOf writes a specification as its resource holds it: what the schema of its kind
// has, and no more, so that the API server keeps it as it is. Nulls are left out where
// they say nothing. The manifest reads it back as the same spec.
func SpecOf(s *workload.Spec) (json.RawMessage, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("writing the specification of %s: %w", s.Name, err)
	}
	v, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("reading the specification of %s: %w", s.Name, err)
	}
	spec := v.(map[string]any)
	delete(spec, "name")
	delete(spec, "kind")
	if pod, ok := spec["pod"].(map[string]any); ok {
		if s.Kind != workload.Realtime {
			delete(pod, "max_queue_length")
		}
		if !s.Kind.Scales() {
			delete(pod, "max_concurrency")
		}
	}
	if text, err = json.Marshal(sparse("", spec)); err != nil {
		return nil, fmt.Errorf("writing the specification of %s: %w", s.Name, err)
	}
	return text, nil
}

// sparse leaves nulls out, but for the one that differs from an absent key: without
// cpu a container requests the default, with null nothing.
func sparse(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil && (key != "compute" || k != "cpu") {
				delete(v, k)
				continue
			}
			v[k] = sparse(k, e)
		}
	case []any:
		for i, e := range v {
			v[i] = sparse("", e)
		}
	}
	return v
}

// decode keeps numbers as they were written.
func decode(text json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// plain writes numbers as the API server does, which keeps 1.0 as 1.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return v
		}
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
	}
	return v
}
