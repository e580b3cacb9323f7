package authtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// portalPath is where SDKs ask for the credentials of a role, with the token that
// `aws sso login` has left in their cache.
const portalPath = "/federation/credentials"

// portal answers GetRoleCredentials.
func (s *STS) portal(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return portalRefusal(http.StatusMethodNotAllowed, "InvalidRequestException", "Only GET is supported")
	}
	_, text := target(r)
	query, err := url.ParseQuery(text)
	if err != nil || query.Get("role_name") == "" || query.Get("account_id") == "" {
		return portalRefusal(http.StatusBadRequest, "InvalidRequestException", "role_name and account_id are required")
	}
	known := false
	for _, g := range s.grants {
		if !hmac.Equal([]byte(g.Token), []byte(r.Header.Get("X-Amz-Sso_bearer_token"))) {
			continue
		}
		known = true
		if g.Account == query.Get("account_id") && g.RoleName == query.Get("role_name") {
			return s.grant(g)
		}
	}
	if known {
		return portalRefusal(http.StatusForbidden, "ForbiddenException", "No access")
	}
	return portalRefusal(http.StatusUnauthorized, "UnauthorizedException", "Session token not found or invalid")
}

// grant issues what a grant opens.
func (s *STS) grant(g Grant) answer {
	role, ok := parseRole(g.ARN)
	if !ok {
		sum := sha256.Sum256([]byte(g.Account + "/" + g.RoleName))
		name := "AWSReservedSSO_" + g.RoleName + "_" + hex.EncodeToString(sum[:8])
		role = roleARN{partition: s.partition(), account: g.Account, name: name}
		role.arn = "arn:" + role.partition + ":iam::" + g.Account + ":role/aws-reserved/sso.amazonaws.com/" + name
	}
	user := g.User
	if user == "" {
		user = "user"
	}
	id := s.issue(role, "", user, time.Hour)
	return portalAnswer(http.StatusOK, "", map[string]any{"roleCredentials": map[string]any{
		"accessKeyId": id.AccessKeyID, "secretAccessKey": id.SecretAccessKey,
		"sessionToken": id.SessionToken, "expiration": id.ExpiresAt.UnixMilli(),
	}})
}

// partition is that of the region, as far as tests go.
func (s *STS) partition() string {
	switch {
	case strings.HasPrefix(s.region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(s.region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func portalRefusal(status int, code, message string) answer {
	return portalAnswer(status, code, map[string]any{"message": message, "__type": "com.amazonaws.switchboard.portal#" + code})
}

func portalAnswer(status int, code string, value map[string]any) answer {
	body, _ := json.Marshal(value) // strings and numbers always encode
	a := answer{status: status, code: code, contentType: "application/json", id: requestID(), body: body}
	if code != "" {
		a.header = map[string]string{"x-amzn-ErrorType": code}
	}
	return a
}
