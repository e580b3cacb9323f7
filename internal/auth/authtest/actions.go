package authtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The actions, by the names that callers and counters use.
const (
	actionIdentity = "GetCallerIdentity"
	actionRole     = "AssumeRole"
	actionWeb      = "AssumeRoleWithWebIdentity"
	actionPortal   = "GetRoleCredentials"
	version        = "2011-06-15"
)

// answer decides, once faults are out of the way.
func (s *STS) answer(r *http.Request, body []byte, form url.Values, action string) answer {
	path, _ := target(r)
	switch {
	case path == portalPath:
		return s.portal(r)
	case len(body) > maxBody:
		return refusal(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request size exceeded")
	case path != "/":
		return refusal(http.StatusNotFound, "UnknownOperationException", "There is nothing at this path.")
	case r.Method != http.MethodPost && r.Method != http.MethodGet:
		return refusal(http.StatusMethodNotAllowed, "UnsupportedMethod", "Only GET and POST are supported.")
	case action == "":
		return refusal(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action.")
	case !slices.Equal(form["Version"], []string{version}):
		return refusal(http.StatusBadRequest, "InvalidAction", "Could not find operation "+action+" for version "+form.Get("Version"))
	}
	switch action {
	case actionIdentity:
		id, no := s.verified(r, body, r.Host == s.host)
		if no != nil {
			return *no
		}
		return result(action, []field{
			{name: "Arn", text: id.ARN}, {name: "UserId", text: id.UserID}, {name: "Account", text: id.Account},
		})
	case actionRole:
		return s.assumeRole(r, body, form)
	case actionWeb:
		return s.assumeRoleWithWebIdentity(form)
	}
	return refusal(http.StatusBadRequest, "InvalidAction", "Could not find operation "+action+" for version "+version)
}

// The words of AWS.
const (
	badToken     = "The security token included in the request is invalid"
	expiredToken = "The security token included in the request is expired"
	badSignature = "The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)

// verified returns whose signature a request carries, or the refusal.
func (s *STS) verified(r *http.Request, body []byte, hostFits bool) (Identity, *answer) {
	no := func(status int, code, message string) (Identity, *answer) {
		a := refusal(status, code, message)
		return Identity{}, &a
	}
	lookup := func(keyID string) (secret, token string, ok bool) {
		id, ok := s.identity(keyID)
		return id.SecretAccessKey, id.SessionToken, ok && !id.Disabled
	}
	keyID, err := Verify(r, body, lookup, "sts", s.region, s.now())
	if err == nil && !hostFits {
		err = refuse(ReasonSignature, "it is the request to another host")
	}
	if err == nil {
		id, ok := s.identity(keyID)
		switch {
		case !ok || id.Disabled: // meanwhile
			return no(http.StatusForbidden, "InvalidClientTokenId", badToken)
		case !id.ExpiresAt.IsZero() && !s.now().Before(id.ExpiresAt):
			return no(http.StatusForbidden, "ExpiredToken", expiredToken)
		}
		return id, nil
	}
	switch ReasonOf(err) {
	case ReasonMissing:
		return no(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	case ReasonMalformed:
		return no(http.StatusBadRequest, "IncompleteSignature", err.Error())
	case ReasonKey, ReasonToken:
		return no(http.StatusForbidden, "InvalidClientTokenId", badToken)
	case ReasonScope:
		return no(http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
	case ReasonSkew:
		return no(http.StatusForbidden, "SignatureDoesNotMatch", strings.TrimPrefix(err.Error(), string(ReasonSkew)+": "))
	}
	return no(http.StatusForbidden, "SignatureDoesNotMatch", badSignature)
}

func (s *STS) identity(keyID string) (Identity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.identities[keyID]
	return id, ok
}

var (
	sessionShape = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)
	roleShape    = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::([0-9]{12}):role/(?:[!-~]*/)?([A-Za-z0-9_+=,.@-]{1,64})$`)
)

// roleARN is the ARN of a role in its parts.
type roleARN struct{ arn, partition, account, name string }

func parseRole(arn string) (roleARN, bool) {
	m := roleShape.FindStringSubmatch(arn)
	if m == nil {
		return roleARN{}, false
	}
	return roleARN{arn, m[1], m[2], m[3]}, true
}

func (s *STS) assumeRole(r *http.Request, body []byte, form url.Values) answer {
	caller, no := s.verified(r, body, r.Host == s.host || isLoopback(r.Host))
	if no != nil {
		return *no
	}
	arn := form.Get("RoleArn")
	role, ok := s.roles[arn]
	if !ok || !trusts(role, caller) {
		return refusal(http.StatusForbidden, "AccessDenied",
			"User: "+caller.ARN+" is not authorized to perform: sts:AssumeRole on resource: "+arn)
	}
	return s.issueFor(actionRole, arn, role, form, nil)
}

// trusts reports whether a role may be assumed by an identity: by its own ARN, or
// by that of the role whose session it is.
func trusts(role Role, caller Identity) bool {
	if len(role.Trusts) == 0 || slices.Contains(role.Trusts, caller.ARN) {
		return true
	}
	prefix, rest, ok := strings.Cut(caller.ARN, ":assumed-role/")
	name, _, _ := strings.Cut(rest, "/")
	return ok && slices.Contains(role.Trusts, strings.Replace(prefix, ":sts:", ":iam:", 1)+":role/"+name)
}

func (s *STS) assumeRoleWithWebIdentity(form url.Values) answer {
	arn := form.Get("RoleArn")
	role, exists := s.roles[arn]
	switch allowed, ok := s.webTokens[form.Get("WebIdentityToken")]; {
	case !ok:
		return refusal(http.StatusBadRequest, "InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
	case !exists || allowed != arn:
		return refusal(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	return s.issueFor(actionWeb, arn, role, form, []field{
		{name: "SubjectFromWebIdentityToken", text: "subject"}, {name: "Audience", text: "sts.amazonaws.com"},
	})
}

// issueFor answers with credentials of a role, for the session that form names.
func (s *STS) issueFor(action, arn string, role Role, form url.Values, extra []field) answer {
	session := form.Get("RoleSessionName")
	life := time.Hour
	if text := form.Get("DurationSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 900 || seconds > 43200 {
			return refusal(http.StatusBadRequest, "ValidationError", "DurationSeconds must be between 900 and 43200")
		}
		life = time.Duration(seconds) * time.Second
	}
	parsed, ok := parseRole(arn)
	if !ok || !sessionShape.MatchString(session) {
		return refusal(http.StatusBadRequest, "ValidationError", "RoleArn or RoleSessionName failed to satisfy constraint")
	}
	id := s.issue(parsed, role.ID, session, life)
	return result(action, append(extra,
		field{name: "AssumedRoleUser", fields: []field{{name: "AssumedRoleId", text: id.UserID}, {name: "Arn", text: id.ARN}}},
		field{name: "Credentials", fields: []field{
			{name: "AccessKeyId", text: id.AccessKeyID}, {name: "SecretAccessKey", text: id.SecretAccessKey},
			{name: "SessionToken", text: id.SessionToken}, {name: "Expiration", text: id.ExpiresAt.Format(time.RFC3339)},
		}},
	))
}

// issue makes temporary credentials of a role, and forgets the oldest when there
// are too many.
func (s *STS) issue(role roleARN, roleID, session string, life time.Duration) Identity {
	if roleID == "" {
		sum := sha256.Sum256([]byte(role.arn))
		roleID = "AROA" + base32.StdEncoding.EncodeToString(sum[:])[:17]
	}
	id := Identity{
		AccessKeyID:     "ASIA" + base32.StdEncoding.EncodeToString(random(10)),
		SecretAccessKey: base64.StdEncoding.EncodeToString(random(30)),
		SessionToken:    base64.StdEncoding.EncodeToString(random(240)),
		ARN:             "arn:" + role.partition + ":sts::" + role.account + ":assumed-role/" + role.name + "/" + session,
		UserID:          roleID + ":" + session,
		Account:         role.account,
		ExpiresAt:       s.now().Add(life).UTC().Truncate(time.Second),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.issued) >= maxIssued {
		delete(s.identities, s.issued[0])
		s.issued = s.issued[1:]
	}
	s.identities[id.AccessKeyID] = id
	s.issued = append(s.issued, id.AccessKeyID)
	return id
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
