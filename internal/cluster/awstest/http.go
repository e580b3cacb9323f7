package awstest

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"cortex.dev/cortex/internal/auth/authtest"
)

// Key is a pair of credentials.
type Key struct {
	AccessKeyID, Secret, SessionToken string
	ARN                               string // whose
}

// Config is what clients of the SDK are made of: their requests do not leave the process.
func (a *Account) Config(k Key) aws.Config {
	return aws.Config{
		Region:      a.region,
		Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.Secret, k.SessionToken),
		HTTPClient:  inProcess{a},
	}
}

// inProcess is a client whose every request goes to one account.
type inProcess struct{ a *Account }

func (p inProcess) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	p.a.ServeHTTP(w, r)
	if w.Header().Get(lostHeader) != "" {
		return nil, errLost
	}
	resp := w.Result()
	resp.Request = r
	if r.Method == http.MethodHead {
		resp.Body = http.NoBody // as every server has it
	}
	return resp, nil
}

// lostHeader marks an answer that is lost on its way.
const lostHeader = "Awstest-Lost"

var errLost = errors.New("read tcp: connection reset by peer")

// maxBody bounds a request: more than any template or object of a cluster.
const maxBody = 8 << 20

// ServeHTTP answers one request. Which service is asked is told by what the signature is
// for; a host name of AWS must be that of the service.
func (a *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(body) > maxBody {
			http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
			return
		}
	}
	answer := a.answer(r, body)
	if answer.Header().Get(lostHeader) != "" && drop(w) {
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// drop ends the connection of an answer that is lost, where there is one.
func drop(w http.ResponseWriter) bool {
	h, ok := w.(http.Hijacker)
	if !ok {
		return false
	}
	conn, _, err := h.Hijack()
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// answer answers a request whole, while nothing else happens: what it shows is the
// account's own, and goes on changing.
func (a *Account) answer(r *http.Request, body []byte) *httptest.ResponseRecorder {
	defer a.locked()()
	w := httptest.NewRecorder()
	if isToken(r) {
		a.answerToken(w, r)
		return w
	}
	name := serviceOf(r)
	s := services[name]
	if s == nil {
		http.Error(w, "awstest does not know the service "+name+" of "+hostOf(r), http.StatusNotFound)
		return w
	}
	c, out, err := a.serve(s, r, body)
	id := a.uuid()
	w.Header().Set("x-amzn-RequestId", id)
	if c != nil {
		for k, v := range c.header {
			w.Header().Set(k, v)
		}
	}
	var lost *lostAnswer
	switch {
	case errors.As(err, &lost):
		w.Header().Set(lostHeader, "1")
	case err != nil:
		s.protocol.fail(w, s, asRefusal(err), id)
	case c.raw != nil:
		_, _ = w.Write(c.raw)
	default:
		s.protocol.answer(w, c, out, id)
	}
	return w
}

func asRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return &refusal{http.StatusInternalServerError, "InternalFailure", err.Error()}
}

func hostOf(r *http.Request) string {
	if r.Host == "" && r.URL != nil {
		return r.URL.Host
	}
	return r.Host
}

// serviceOf is the signing name of the service that a request is for.
func serviceOf(r *http.Request) string {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if scope := strings.SplitN(rest, "/", 5); ok && len(scope) == 5 {
		return scope[3]
	}
	name, _, _ := strings.Cut(hostOf(r), ".")
	if name == "oidc" || services[name] != nil {
		return name
	}
	return "s3" // whose buckets are host names
}

// serve verifies, finds and does what is asked for.
func (a *Account) serve(s *service, r *http.Request, body []byte) (*call, object, error) {
	who, err := a.authenticate(s, r, body)
	if err != nil {
		return nil, nil, err
	}
	op, tree, err := s.protocol.request(s, r, body)
	if err != nil {
		return nil, nil, err
	}
	c := &call{Account: a, who: who, service: s, op: op, in: newParams("", tree), body: body, header: map[string]string{}}
	if s.name == "s3" {
		if c.body, err = unchunked(r, body); err != nil {
			return c, nil, err
		}
	}
	out, err := c.perform()
	return c, out, err
}

// perform asks the policies, lets faults happen, and does it.
func (c *call) perform() (out object, err error) {
	done := Call{
		Service: c.service.name, Action: c.op.permissionName(), Principal: c.who.arn, Implied: c.implied, Context: c.context, Resources: []string{"*"},
	}
	if c.op.on != nil {
		done.Resources = c.op.on(c)
	}
	defer func() {
		done.Result = codeOf(err)
		c.note(done)
	}()
	fault := c.fault()
	if fault != nil && !fault.Lost {
		return nil, fault.err()
	}
	for _, resource := range done.Resources {
		if err := c.permitted(c.who, c.service.name+":"+done.Action, resource, c.context); err != nil {
			return nil, c.denied(err)
		}
	}
	if out, err = c.op.do(c); err != nil {
		return nil, err
	}
	if unknown := c.in.unread(); len(unknown) > 0 {
		return nil, notSimulated("these parameters of %s: %s", c.op.name, strings.Join(unknown, ", "))
	}
	if fault != nil {
		return nil, &lostAnswer{}
	}
	return out, nil
}

func (o *operation) permissionName() string {
	if o.permission != "" {
		return o.permission
	}
	return o.name
}

// do makes a call on behalf of somebody, as CloudFormation does.
func (a *Account) do(who *principal, service, action string, in object) (object, error) {
	s := services[service]
	for i := range s.operations {
		if s.operations[i].name == action {
			c := &call{Account: a, who: who, service: s, op: &s.operations[i], in: newParams("", in), implied: true, header: map[string]string{}}
			return c.perform()
		}
	}
	panic("awstest: " + service + " has no " + action)
}

// authenticate returns who has signed a request.
func (a *Account) authenticate(s *service, r *http.Request, body []byte) (*principal, error) {
	if a.o.OptedOut && s.region(a) == a.region {
		return nil, s.errors.of("unknown-key")
	}
	verify := authtest.Verify
	if s.name == "s3" {
		verify = authtest.VerifyS3
	}
	region := s.region(a)
	if s.global && !strings.Contains(hostOf(r), ".amazonaws.") {
		region = a.region // so clients sign that were given an address
	}
	id, err := verify(r, body, a.secretOf, s.name, region, time.Now())
	if err == nil {
		err = hostFits(s, hostOf(r))
	}
	if err == nil {
		who := a.identities[id]
		if !who.expires.IsZero() && !a.clock.now.Before(who.expires) {
			return nil, s.errors.of("expired")
		}
		return who, nil
	}
	switch authtest.ReasonOf(err) {
	case authtest.ReasonMissing:
		return nil, s.errors.of("missing")
	case authtest.ReasonKey, authtest.ReasonToken:
		return nil, s.errors.of("unknown-key")
	case authtest.ReasonScope:
		return nil, refuseAs(http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
	case authtest.ReasonMalformed, authtest.ReasonUnsigned:
		return nil, refuse("IncompleteSignature", "%s", err)
	}
	return nil, refuseAs(http.StatusForbidden, s.errors.signature(), "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

// hostFits holds a host name of AWS against the service that was signed for. An address
// of a test's own fits every service.
func hostFits(s *service, host string) error {
	if !strings.Contains(host, ".amazonaws.") {
		return nil
	}
	for part := range strings.SplitSeq(host, ".") {
		if part == s.name || part == s.host {
			return nil
		}
	}
	return &authtest.VerifyError{Reason: authtest.ReasonSignature, Detail: "it is the request to another host"}
}
