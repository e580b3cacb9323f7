package crd

// A secret of ours is a Secret in the namespace of the APIs, of the same name, with this
// label and with its value under this key, whoever made it.
const (
	SecretLabel = "cortex.dev/secret" //nolint:gosec // a label, not a secret; its value is "true"
	SecretKey   = "value"
)
