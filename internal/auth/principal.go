package auth

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// PrincipalType is the kind of an AWS identity.
type PrincipalType string

// The identities that STS can name.
const (
	User      PrincipalType = "user"
	Role      PrincipalType = "role"
	Root      PrincipalType = "root"
	Federated PrincipalType = "federated-user"
)

// Principal is a proven AWS identity. Two sessions of one role are one principal.
type Principal struct {
	Partition string        `json:"partition"` // aws, aws-cn, aws-us-gov, …
	Account   string        `json:"account"`   // 12 digits
	Type      PrincipalType `json:"type"`
	ARN       string        `json:"arn"`                    // canonical: the path is dropped, an assumed role is its role
	UniqueID  string        `json:"unique_id"`              // AIDA…, AROA…; the account of root; account:name of a federated user
	Session   string        `json:"session_name,omitempty"` // of an assumed role; shown, never decided upon
}

func (p Principal) String() string { return p.ARN }

// The shapes of what STS answers, from the reference of the IAM identifiers and
// of the GetCallerIdentity API.
var (
	arnShape       = NewShape(`^arn:(aws(?:-[a-z0-9]{1,20}){0,3}):(iam|sts)::([0-9]{12}):([!-~]+)$`, 1, maxARN)
	nameShape      = NewShape(`^[A-Za-z0-9_+=,.@-]+$`, 1, 64)
	sessionShape   = NewShape(`^[A-Za-z0-9_+=,.@-]+$`, 2, 64)
	federatedShape = NewShape(`^[A-Za-z0-9_+=,.@:-]+$`, 2, 193)
	pathShape      = NewShape(`^(?:[!-.0-~]+/)*$`, 0, 512) // printable, segments that are not empty
	uniqueShape    = NewShape(`^[A-Z0-9]+$`, 16, 128)
	accountShape   = NewShape(`^[0-9]+$`, 12, 12)
)

// Shape is what a text has to look like: its characters, and how many bytes. The
// pattern is compiled when it is first used, and does not count to hundreds: every
// command would pay for that at its start.
type Shape struct {
	pattern     func() *regexp.Regexp
	least, most int
}

// NewShape returns the shape of texts of least to most bytes that match a pattern.
func NewShape(pattern string, least, most int) Shape {
	return Shape{Pattern(pattern), least, most}
}

// Pattern returns what compiles a pattern when it is first asked for. A command that
// needs none of dozens must not pay milliseconds for them at its start.
func Pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// MatchString reports whether s is long enough, not too long, and of the characters.
func (h Shape) MatchString(s string) bool {
	return len(s) >= h.least && len(s) <= h.most && h.pattern().MatchString(s)
}

// maxARN bounds an ARN: the longest of an assumed role is far below it.
const maxARN = 2048

// IsAccount reports whether s is an AWS account id.
func IsAccount(s string) bool { return accountShape.MatchString(s) }

// ParseIdentity reads the three values of a GetCallerIdentity answer as one
// principal. It refuses an ARN that is no identity of IAM, and values that
// contradict each other.
func ParseIdentity(arn, userID, account string) (Principal, error) {
	p, path, err := parseARN(arn)
	switch {
	case err != nil:
		return Principal{}, err
	case p.Account != account:
		return Principal{}, errors.New("the account is not that of the arn")
	case path && p.Type == Role:
		return Principal{}, errors.New("an assumed role has no path")
	}
	p.UniqueID = userID
	switch p.Type {
	case User:
		if !uniqueShape.MatchString(userID) || !strings.HasPrefix(userID, "AIDA") {
			return Principal{}, errors.New("the user id is not that of a user")
		}
	case Role:
		id, session, ok := strings.Cut(userID, ":")
		if !ok || !uniqueShape.MatchString(id) || !strings.HasPrefix(id, "AROA") || session != p.Session || session == "" {
			return Principal{}, errors.New("the user id is not that of the assumed role")
		}
		p.UniqueID = id
	case Root:
		if userID != account {
			return Principal{}, errors.New("the user id is not that of root")
		}
	case Federated:
		if userID != account+":"+strings.TrimPrefix(resourceOf(p.ARN), "federated-user/") {
			return Principal{}, errors.New("the user id is not that of the federated user")
		}
	}
	return p, nil
}

// ParseARN returns the principal that an ARN names: of a user, a role (as IAM or
// as STS names it), root or a federated user. Its canonical form is the ARN of the
// result; doing it twice changes nothing. UniqueID is empty.
func ParseARN(arn string) (Principal, error) {
	p, _, err := parseARN(arn)
	return p, err
}

// parseARN also says whether the ARN had a path.
func parseARN(arn string) (p Principal, path bool, err error) {
	if len(arn) > maxARN {
		return Principal{}, false, fmt.Errorf("an arn has at most %d characters", maxARN)
	}
	m := arnShape.pattern().FindStringSubmatch(arn)
	if m == nil {
		return Principal{}, false, errors.New("it is not the arn of an identity in IAM or STS")
	}
	p = Principal{Partition: m[1], Account: m[3]}
	service, kind, rest := m[2], "", ""
	kind, rest, _ = strings.Cut(m[4], "/")
	canonical := func(service, resource string) string {
		return "arn:" + p.Partition + ":" + service + "::" + p.Account + ":" + resource
	}
	switch service + " " + kind {
	case "iam root":
		if m[4] != "root" {
			return Principal{}, false, errors.New("root has no name")
		}
		p.Type, p.ARN = Root, arn
	case "iam user", "iam role":
		cut := strings.LastIndex(rest, "/") + 1
		if !pathShape.MatchString(rest[:cut]) || !nameShape.MatchString(rest[cut:]) {
			return Principal{}, false, fmt.Errorf("%s is not the name of a %s", "it", kind)
		}
		p.Type, path = PrincipalType(kind), cut > 0
		p.ARN = canonical("iam", kind+"/"+rest[cut:])
	case "sts assumed-role":
		name, session, _ := strings.Cut(rest, "/")
		if !nameShape.MatchString(name) || !sessionShape.MatchString(session) {
			return Principal{}, false, errors.New("it is not an assumed role and its session")
		}
		p.Type, p.Session, p.ARN = Role, session, canonical("iam", "role/"+name)
	case "sts federated-user":
		if !federatedShape.MatchString(rest) {
			return Principal{}, false, errors.New("it is not a federated user")
		}
		p.Type, p.ARN = Federated, arn
	default:
		return Principal{}, false, errors.New("it is neither a user, a role, root nor a federated user")
	}
	return p, path, nil
}

// resourceOf is what stands behind the account in a canonical ARN.
func resourceOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	return parts[len(parts)-1]
}

// Name is the part of the ARN that people know: user/alice, role/Admin, root.
func (p Principal) Name() string { return resourceOf(p.ARN) }
