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

// CodeDigest names the copy in which the processes of r run. Empty: they run in the
// folder itself.
func (r *Revision) CodeDigest() string {
	if r.Code == nil {
		return ""
	}
	return r.Code.Digest
}

// WithCode returns what r is when its processes run code.
func (r *Revision) WithCode(code *Code) *Revision {
	c := *r
	c.Code = code
	if c.CodeDigest() != r.CodeDigest() { // otherwise it is called as it is, whichever release named it
		c.identify()
		c.stamp(r.LastUpdated)
	}
	return &c
}
