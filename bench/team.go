package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
)

const (
	teamRegion  = "us-west-2"
	teamAccount = "111122223333"
)

// team is a server for many identities, with an STS of its own that really
// verifies signatures.
type team struct {
	*home
	sts      *authtest.STS
	stsURL   string
	stop     func() error
	operator string // https://127.0.0.1:port
	trust    *tls.Config
}

// member is the n-th identity.
func member(n int) authtest.Identity {
	id := fmt.Sprintf("%012d", n)
	return authtest.Identity{
		AccessKeyID:     "AKIA" + strings.NewReplacer("0", "A", "1", "B", "2", "C", "3", "D", "4", "E", "5", "F", "6", "G", "7", "H", "8", "I", "9", "J").Replace(id) + "BENC",
		SecretAccessKey: "bench/secret/" + id,
		ARN:             "arn:aws:iam::" + teamAccount + ":user/user-" + id, UserID: "AIDABENCHMARK" + id, Account: teamAccount,
	}
}

// startTeam starts a server for the first n identities, and deploys the sample.
func (p *place) startTeam(ctx context.Context, n int, flags ...string) (*team, error) {
	t, err := p.startServer(n, flags...)
	if err != nil {
		return nil, err
	}
	file, err := t.sampleFile()
	if err == nil {
		err = t.configure(ctx)
	}
	if err == nil {
		err = t.asMember(ctx, "deploy", file)
	}
	if err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

func (p *place) startServer(n int, flags ...string) (*team, error) {
	h, err := p.newHome()
	if err != nil {
		return nil, err
	}
	people := make([]authtest.Identity, n)
	for i := range people {
		people[i] = member(i)
	}
	t := &team{home: h, sts: authtest.NewSTS(authtest.Config{Region: teamRegion, Identities: people})}
	sts := httptest.NewServer(t.sts)
	t.stsURL = sts.URL
	h.daemon = exec.Command(p.cortex, append([]string{"server", "--cluster-name", "bench", "--account-id", teamAccount, "--region", teamRegion,
		"--sts-endpoint", sts.URL, "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--metrics-listen", ""}, flags...)...)
	h.daemon.Env, h.daemon.Dir = h.env(), h.dir
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	h.output = &bytes.Buffer{}
	said, err := h.daemon.StderrPipe()
	if err == nil {
		err = h.daemon.Start()
	}
	if err != nil {
		sts.Close()
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	h.ended = make(chan error, 1)
	t.stop = func() error {
		defer sts.Close()
		return h.stop()
	}
	lines := bufio.NewScanner(said)
	for t.operator == "" && lines.Scan() {
		fmt.Fprintln(h.output, lines.Text())
		if _, rest, ok := strings.Cut(lines.Text(), "operator endpoint:"); ok {
			t.operator = strings.TrimSpace(rest)
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, said)
		h.ended <- h.daemon.Wait()
	}()
	if t.operator == "" {
		return nil, errors.Join(fmt.Errorf("the server did not start:\n%s", h.output), t.stop())
	}
	ca, err := os.ReadFile(t.ca())
	if err != nil {
		return nil, errors.Join(err, t.stop())
	}
	t.trust = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	t.trust.RootCAs.AppendCertsFromPEM(ca)
	return t, nil
}

func (t *team) ca() string { return filepath.Join(t.config(), "server", "tls", "ca.pem") }

// keys are the credentials of the first member.
func (t *team) keys() []string {
	m := member(0)
	return []string{"AWS_ACCESS_KEY_ID=" + m.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + m.SecretAccessKey}
}

// asMember runs the command line as the first member, with the server as its
// environment.
func (t *team) asMember(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, t.cortex, args...)
	cmd.Env, cmd.Dir = append(t.env(), t.keys()...), t.project()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cortex %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// configure points the command line of this home at the server.
func (t *team) configure(ctx context.Context) error {
	if err := t.asMember(ctx, "env", "configure", "bench", "--operator-endpoint", t.operator, "--ca", t.ca()); err != nil {
		return err
	}
	return t.asMember(ctx, "env", "default", "bench")
}

// client returns an HTTP client whose connections come from a loopback address of
// its own, so that limits by address see many.
func (t *team) client(n, connections int) *http.Client {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n&255))}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: t.trust, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
		DialContext: (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).DialContext,
	}}
}

// signIn exchanges a proof of a member for a session.
func (t *team) signIn(ctx context.Context, c *http.Client, who authtest.Identity) (auth.Session, error) {
	var challenge auth.Challenge
	resp, err := c.Get(t.operator + "/v1/auth/challenge")
	if err != nil {
		return auth.Session{}, err
	}
	seen := auth.Fingerprint(resp.TLS.PeerCertificates[0].Raw)
	if err := decode(resp, &challenge); err != nil {
		return auth.Session{}, err
	}
	proof, err := sign(ctx, who, challenge, seen)
	if err != nil {
		return auth.Session{}, err
	}
	body, err := json.Marshal(proof)
	if err != nil {
		return auth.Session{}, err
	}
	resp, err = c.Post(t.operator+"/v1/auth/session", "application/json", bytes.NewReader(body))
	if err != nil {
		return auth.Session{}, err
	}
	var session auth.Session
	return session, decode(resp, &session)
}

func decode(resp *http.Response, v any) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// sign makes the proof of a challenge.
func sign(ctx context.Context, who authtest.Identity, c auth.Challenge, seen string) (auth.Proof, error) {
	now := time.Now().UTC()
	p := auth.Proof{AccessKeyID: who.AccessKeyID, AMZDate: now.Format(auth.DateLayout), SecurityToken: who.SessionToken, Nonce: c.Nonce}
	req, err := auth.CallerIdentity(ctx, "https://sts."+c.Region+".amazonaws.com/", auth.Binding{
		Host: "sts." + c.Region + ".amazonaws.com", Region: c.Region, ClusterID: c.ClusterID, TLSFingerprint: seen, Nonce: c.Nonce,
	}, p.AMZDate, p.SecurityToken)
	if err != nil {
		return p, err
	}
	keys := aws.Credentials{AccessKeyID: who.AccessKeyID, SecretAccessKey: who.SecretAccessKey, SessionToken: who.SessionToken}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, auth.ProofPayloadHash(), auth.ProofService, c.Region, now); err != nil {
		return p, err
	}
	_, p.Signature, _ = strings.Cut(req.Header.Get("Authorization"), "Signature=")
	return p, nil
}

// sample is the API that requests of the benchmark ask about.
const sample = "sample"

// sampleFile writes its cortex.yaml.
func (h *home) sampleFile() (string, error) {
	return h.file("cortex.yaml", plainSpec(sample, h.server, 1, "1"))
}

// look asks for the sample API, with a token unless that is empty, and reads the
// answer to its end.
func look(ctx context.Context, c *http.Client, base, token string) error {
	return ask(ctx, c, base+"/v1/apis/"+sample+"/describe", token)
}

func ask(ctx context.Context, c *http.Client, url, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, %w", resp.StatusCode, err)
	}
	return nil
}
