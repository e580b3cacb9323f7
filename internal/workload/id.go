package workload

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Origin says where a spec came from.
type Origin struct {
	Index     int    // position in its file
	FileName  string // as the user named it
	Directory string // absolute; processes run there (one machine only)
	Programs  *Programs
	Code      *Code
	Submitted any // the user's YAML as given
}

// NewRevision returns the revision that deploying spec makes, after prev or, where
// prev is nil, as the first of its name. The spec must be defaulted. The ID sorts
// before that of prev even when the clock did not advance.
func NewRevision(spec Spec, prev *Revision, from Origin, now time.Time) *Revision {
	r := &Revision{
		Spec:             spec,
		Index:            from.Index,
		FileName:         from.FileName,
		Directory:        from.Directory,
		Programs:         from.Programs,
		Code:             from.Code,
		SubmittedAPISpec: from.Submitted,
	}
	r.identify()
	at := now
	if prev != nil {
		r.DeploymentID = prev.DeploymentID
		r.InitialDeploymentTime = prev.InitialDeploymentTime
		at = after(prev, now)
	} else {
		r.InitialDeploymentTime = now.UnixNano()
		if spec.Kind.Scales() {
			r.DeploymentID = newDeploymentID()
		}
	}
	r.stamp(at)
	return r
}

// Refreshed returns the revision that replaces every replica of r by one that runs code,
// and changes nothing else. Kinds without replicas keep their empty deployment id.
func (r *Revision) Refreshed(code *Code, now time.Time) *Revision {
	c := r.WithCode(code)
	if r.Kind.Scales() {
		c.DeploymentID = newDeploymentID()
	}
	c.stamp(after(r, now))
	return c
}

// identify names what runs, and all that was asked for.
func (r *Revision) identify() {
	r.PodID = r.podID()
	r.SpecID = specID(&r.Spec, r.PodID)
}

func (r *Revision) stamp(at time.Time) {
	r.LastUpdated = at.UTC()
	r.ID = fmt.Sprintf("%016x-%s-%s", math.MaxInt64-at.UnixNano(), r.DeploymentID, r.SpecID)
}

// after returns now, or the first moment after prev where the clock went back.
func after(prev *Revision, now time.Time) time.Time {
	if len(prev.ID) < 16 {
		return now
	}
	left, err := strconv.ParseInt(prev.ID[:16], 16, 64)
	if err != nil {
		return now
	}
	if was := math.MaxInt64 - left; now.UnixNano() <= was {
		return time.Unix(0, was+1)
	}
	return now
}

// podID names what runs. A command without an image runs what is in its folder, by
// what is on its PATH, so there both are part of it.
func (r *Revision) podID() string {
	content := []any{r.Name, r.Kind, r.Pod}
	if r.Pod.RunsProcesses() {
		content = append(content, r.Directory)
		if r.Programs != nil { // an element more would rename what was deployed without
			content = append(content, r.Programs)
		}
		if digest := r.CodeDigest(); digest != "" {
			content = append(content, map[string]string{"code": digest})
		}
	}
	return digest(content)[:63]
}

func specID(s *Spec, podID string) string {
	content := []any{podID, s.APIs, s.Networking, s.Autoscaling, s.UpdateStrategy, s.NodeGroups}
	if s.Async != nil {
		content = append(content, s.Async)
	}
	if len(s.Schedules) > 0 {
		content = append(content, s.Schedules)
	}
	if s.Stopped { // an element more would rename what was deployed without
		content = append(content, "stopped")
	}
	return digest(content)[:32]
}

// digest hashes the JSON of v without its null members, so that a field added in a
// later release changes the identity only of specs that use it.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err == nil {
		var plain any
		if err = json.Unmarshal(text, &plain); err == nil {
			text, err = json.Marshal(withoutNulls(plain))
		}
	}
	if err != nil {
		// Specs hold strings, numbers and lists; the only value JSON cannot write
		// is a float that is not a number, which Validate refuses.
		text = fmt.Append(nil, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
			} else {
				v[k] = withoutNulls(e)
			}
		}
	case []any:
		for i, e := range v {
			v[i] = withoutNulls(e)
		}
	}
	return v
}

const idAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// newDeploymentID returns ten random characters. The remainder of a byte by 36 is
// not uniform, which does not matter for telling deployments apart.
func newDeploymentID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program where there is no randomness
	for i := range b {
		b[i] = idAlphabet[int(b[i])%len(idAlphabet)]
	}
	return string(b[:])
}
