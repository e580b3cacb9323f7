package crd

import "time"

// AccessKeyKind is the kind of the resources that hold access keys.
const AccessKeyKind = "AccessKey"

// Bounds and shapes of an AccessKey that are the resource's own.
const (
	MaxKeysOfName = 64
	KeyIDPattern  = `^[0-9A-Za-z]{8}$`
	HashPattern   = `^[0-9a-f]{64}$`
)

// KeySpec is the spec of an AccessKey: what is kept of the access keys of one caller, whose
// name the resource has. It has no secret, so that a repository may have it.
type KeySpec struct {
	Keys []Key `json:"keys"`
}

// Key is one key. It is good for APIs, or for all that there are.
type Key struct {
	ID        string            `json:"id"`     // the eight characters after cxk_
	SHA256    string            `json:"sha256"` // of its secret, in hexadecimal
	APIs      []string          `json:"apis,omitempty"`
	AllAPIs   bool              `json:"all_apis,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedBy string            `json:"created_by,omitempty"`
	CreatedAt time.Time         `json:"created_at,omitzero"` // zero: when the resource was
	ExpiresAt time.Time         `json:"expires_at,omitzero"` // zero: never
}
