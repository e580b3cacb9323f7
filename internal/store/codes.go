package store

// Codes of the faults that this port promises. Whoever branches on one compares it
// with these; storetest holds implementations to them.
const (
	CodeVersionConflict = "store.version_conflict" // it is at another version
	CodeAlreadyClaimed  = "store.already_claimed"
	CodeClaimsFull      = "store.claims_full"
	CodeIllegalName     = "store.illegal_name"
)
