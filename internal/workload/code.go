package workload

// Code is the copy of its folder in which the processes of a version run.
type Code struct {
	// Digest names the copy by its content. Empty: there is none, and they run in the
	// folder itself.
	Digest string `json:"digest,omitempty"`
	// InPlace says why there is no copy.
	InPlace string `json:"in_place,omitempty"`
	// Version is the number of the revision with which the copy was taken; others that
	// replaced no replica have kept it.
	Version int   `json:"version,omitempty"`
	Files   int   `json:"files,omitempty"` // and folders
	Bytes   int64 `json:"bytes,omitempty"` // that were copied
}

// digest is empty without a copy.
func (c *Code) digest() string {
	if c == nil {
		return ""
	}
	return c.Digest
}

// SameCode reports whether r and o run one copy of their folder, or both none.
func (r *Revision) SameCode(o *Revision) bool { return r.Code.digest() == o.Code.digest() }
