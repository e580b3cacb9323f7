package awstest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
)

// Caller is who a token of a cluster is of.
type Caller struct {
	ARN           string
	Username      string
	Groups        []string
	Administrator bool
}

// Authenticate does with a token what the API server of a cluster does: it verifies the
// request to STS that the token is, made for that cluster, and looks up who it is of among
// the access entries. It knows nothing of the ConfigMap, which is in the cluster.
func (a *Account) Authenticate(cluster, token string) (Caller, error) {
	defer a.locked()()
	text, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	address, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil {
		return Caller{}, fmt.Errorf("the token does not begin with k8s-aws-v1. or is not in base64: %.40q", token)
	}
	u, err := url.Parse(string(address))
	if err != nil {
		return Caller{}, fmt.Errorf("the token is no address: %w", err)
	}
	query := u.Query()
	if want := "sts." + a.region + "." + a.suffix; u.Scheme != "https" || u.Host != want || u.Path != "/" || query.Get("Action") != "GetCallerIdentity" {
		return Caller{}, fmt.Errorf("the token is a request to %s://%s%s for %q, want GetCallerIdentity of https://%s/", u.Scheme, u.Host, u.Path, query.Get("Action"), want)
	}
	if !slices.Contains(strings.Split(query.Get("X-Amz-SignedHeaders"), ";"), "x-k8s-aws-id") {
		return Caller{}, fmt.Errorf("the token does not sign x-k8s-aws-id: it is for any cluster")
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"X-K8s-Aws-Id": {cluster}}}
	who, err := a.presigned(r)
	if err != nil {
		return Caller{}, err
	}
	k := a.eks.clusters[cluster]
	if k == nil {
		return Caller{}, fmt.Errorf("there is no cluster %s", cluster)
	}
	arn := a.canonical(who.arn)
	e := k.entries[arn]
	if e == nil || e.of == "" || e.of != a.identified(arn) {
		return Caller{}, fmt.Errorf("%s has no access entry in cluster %s", arn, cluster)
	}
	c := Caller{ARN: arn, Username: textOf(e.view["username"]), Administrator: k.administrator(a, arn)}
	for _, g := range e.view["kubernetesGroups"].([]any) {
		c.Groups = append(c.Groups, textOf(g))
	}
	return c, nil
}

// presigned returns who has signed a request to STS in its address.
func (a *Account) presigned(r *http.Request) (*principal, error) {
	id, err := authtest.VerifyPresigned(r, a.secretOf, "sts", a.region, time.Now())
	if err != nil {
		return nil, err
	}
	who := a.identities[id]
	if !who.expires.IsZero() && !a.clock.now.Before(who.expires) {
		return nil, stsService.errors.of("expired")
	}
	return who, nil
}

// secretOf is what a key is signed with.
func (a *Account) secretOf(id string) (secret, session string, ok bool) {
	p, ok := a.identities[id]
	if !ok {
		return "", "", false
	}
	return p.key.Secret, p.key.SessionToken, true
}

// isToken reports whether a request is what a token of EKS holds, which API servers send.
func isToken(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(hostOf(r), "sts.") && r.URL.Query().Get("X-Amz-Signature") != ""
}

// answerToken answers such a request, in JSON, as STS does for whoever accepts that.
func (a *Account) answerToken(w http.ResponseWriter, r *http.Request) {
	id := a.uuid()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-RequestId", id)
	who, err := a.presigned(r)
	if err == nil && r.URL.Query().Get("Action") != "GetCallerIdentity" {
		err = refuse("InvalidAction", "Could not find operation %s", r.URL.Query().Get("Action"))
	}
	done := Call{Service: "sts", Action: "GetCallerIdentity", Resources: []string{"*"}}
	if err != nil {
		refused := asRefusal(signatureRefusal(err))
		done.Result = refused.code
		a.note(done)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(mustJSON(object{"Error": object{"Code": refused.code, "Message": refused.message, "Type": "Sender"}, "RequestId": id})))
		return
	}
	done.Principal = who.arn
	a.note(done)
	result := object{"Account": a.id, "Arn": who.arn, "UserId": who.userID}
	_, _ = w.Write([]byte(mustJSON(object{"GetCallerIdentityResponse": object{"GetCallerIdentityResult": result, "ResponseMetadata": object{"RequestId": id}}})))
}

// signatureRefusal is how STS refuses a request whose signature it has not verified.
func signatureRefusal(err error) error {
	switch authtest.ReasonOf(err) {
	case authtest.ReasonKey, authtest.ReasonToken:
		return stsService.errors.of("unknown-key")
	case authtest.ReasonSignature, authtest.ReasonUnsigned, authtest.ReasonScope, authtest.ReasonSkew:
		return refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return err
}
