package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// everybody is the default policy as a file; readOnly keeps Bob's role to reading.
const (
	everybody = `@id("everybody")
permit (principal, action, resource);
`
	readOnly = everybody + `
@id("data-science-reads")
forbid (
  principal == Cortex::Role::"arn:aws:iam::` + account + `:role/DataScience",
  action,
  resource
) unless {
  action in [Cortex::Action::"list", Cortex::Action::"get", Cortex::Action::"logs"]
};
`
)

// configure points a person's command line at the server.
func (p *person) configure(ctx context.Context, endpoint, ca string) error {
	return p.show(ctx, cortexBin, "env", "configure", "team", "--operator-endpoint", endpoint, "--ca", ca)
}

func (d *iamDemo) aliceDeploys(ctx context.Context) error {
	d.title("Alice is an IAM user of the account, without any permission in AWS. She deploys, and calls.")
	if err := d.alice.configure(ctx, d.endpoint, d.ca); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"whoami"},
		{"deploy", "examples/iris/cortex.yaml"},
		{"predict", "iris", "examples/iris/flowers.json"},
	} {
		if err := d.alice.show(ctx, cortexBin, args...); err != nil {
			return err
		}
	}
	return nil
}

const bobsScript = `import cortex

client = cortex.client("team")
print("I am", client.whoami()["principal"]["arn"])
for api in client.list_apis():
    print(api["metadata"]["name"], "has", api["status"]["ready"], "replica")
print("predicted:", client.predict("iris", {"sepal_length": 6.3, "sepal_width": 2.9, "petal_length": 5.6, "petal_width": 1.8}))
`

func (d *iamDemo) bobCalls(ctx context.Context) error {
	d.title("Bob has assumed a role of the same account. He does it from Python, after the same set-up.")
	if err := d.bob.configure(ctx, d.endpoint, d.ca); err != nil {
		return err
	}
	file := filepath.Join(d.bob.home, "bob.py")
	if err := os.WriteFile(file, []byte(bobsScript), 0o600); err != nil {
		return err
	}
	for line := range strings.Lines(bobsScript) {
		d.say("  %s", strings.TrimRight(line, "\n"))
	}
	d.typed("python3", "bob.py")
	out, err := d.bob.output(ctx, d.python, file)
	fmt.Fprint(d.out, out)
	return err
}

func (d *iamDemo) malloryIsRefused(ctx context.Context) error {
	d.title("Mallory has an AWS account too, but another one")
	if err := d.mallory.configure(ctx, d.endpoint, d.ca); err != nil {
		return err
	}
	if err := d.mallory.refused(ctx, "is not of the AWS account", cortexBin, "get"); err != nil {
		return err
	}
	d.title("Mallory has seen Alice's key id, and guesses the secret")
	guesses := *d.mallory
	guesses.keys = map[string]string{"AWS_ACCESS_KEY_ID": d.alice.keys["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": "a/guess/that/is/not/the/secret/of/alice"}
	guesses.demo = newDemo(d.out, guesses.environment())
	return guesses.refused(ctx, "not proven", cortexBin, "get")
}

// tap is an operator as login sees it, which keeps what is sent for Mallory.
type tap struct {
	*httpapi.Client
	proof auth.Proof
	sent  bool // to the operator too
}

func (t *tap) Exchange(ctx context.Context, p auth.Proof) (auth.Session, error) {
	t.proof = p
	if !t.sent {
		return auth.Session{}, errors.New("kept back")
	}
	return t.Client.Exchange(ctx, p)
}

func (d *iamDemo) proofsAreRefused(ctx context.Context) error {
	d.title("What if Mallory records what Alice sends, on her own machine, and sends it again?")
	d.say("(Over the wire nobody can: the certificate of the server is verified, and signed.)")
	if err := d.alice.use(); err != nil {
		return err
	}
	defer d.alice.unuse()
	client, err := trusting(d.endpoint, d.ca)
	if err != nil {
		return err
	}
	recorded := &tap{Client: client, sent: true}
	if _, err := login.New(login.Config{Operator: recorded, Endpoint: d.endpoint, Getenv: os.Getenv}).Token(ctx); err != nil {
		return fmt.Errorf("alice's own proof was refused: %w", err)
	}
	d.say("  alice: POST /v1/auth/session → 200, a session")
	if err := d.sendAgain(ctx, client, "mallory: POST /v1/auth/session, the same", recorded.proof); err != nil {
		return err
	}

	d.title("And a proof that Alice made for another cluster?")
	endpoint, err := d.serve(ctx, "other")
	if err != nil {
		return err
	}
	other, err := trusting(endpoint, filepath.Join(d.home, "other", "tls", "ca.pem"))
	if err != nil {
		return err
	}
	meant := &tap{Client: other}
	_, _ = login.New(login.Config{Operator: meant, Endpoint: endpoint, Getenv: os.Getenv}).Token(ctx) // it is kept back
	challenge, _, err := client.Challenge(ctx)
	if err != nil {
		return err
	}
	meant.proof.Nonce = challenge.Nonce // so that it is not refused for a nonce of the other cluster
	return d.sendAgain(ctx, client, "mallory: POST /v1/auth/session, alice's proof for the other cluster with a nonce of this one", meant.proof)
}

func (d *iamDemo) sendAgain(ctx context.Context, client *httpapi.Client, what string, p auth.Proof) error {
	_, err := client.Exchange(ctx, p)
	if !fault.Is(err, fault.Unproven) {
		return fmt.Errorf("%s was not refused as unproven: %w", what, err)
	}
	d.say("  %s → %d, %s", what, fault.HTTPStatus(err), err)
	return nil
}

// trusting returns a client that trusts what is in a CA file.
func trusting(endpoint, ca string) (*httpapi.Client, error) {
	trust, err := clientTLS(ca)
	if err != nil {
		return nil, err
	}
	return httpapi.NewClient(httpapi.ClientConfig{Endpoint: endpoint, TLS: trust})
}

// use puts a person's keys into this process's environment, which login reads.
func (p *person) use() error {
	for name, value := range p.keys {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (p *person) unuse() {
	for name := range p.keys {
		_ = os.Unsetenv(name)
	}
}

const bobDeletes = `import cortex

client = cortex.client("team")
print("Bob still sees", [api["metadata"]["name"] for api in client.list_apis()])
client.delete("iris")
`

func (d *iamDemo) bobReadsOnly(ctx context.Context) error {
	d.title("A policy makes Bob's role read-only. The server takes it over without a restart.")
	if err := os.WriteFile(d.policy, []byte(readOnly), 0o600); err != nil {
		return err
	}
	for line := range strings.Lines(readOnly) {
		d.say("  %s", strings.TrimRight(line, "\n"))
	}
	if err := d.alice.show(ctx, cortexBin, "policy", "check", d.policy); err != nil {
		return err
	}
	if err := d.alice.untilPolicy(ctx, "(2 policies"); err != nil {
		return err
	}
	file := filepath.Join(d.bob.home, "delete.py")
	if err := os.WriteFile(file, []byte(bobDeletes), 0o600); err != nil {
		return err
	}
	for line := range strings.Lines(bobDeletes) {
		d.say("  %s", strings.TrimRight(line, "\n"))
	}
	d.typed("python3", "delete.py")
	said, err := d.bob.command(ctx, d.python, file).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	d.say("%s", lines[0])
	d.say("%s", lines[len(lines)-1]) // of a traceback, the exception
	if err == nil || !strings.Contains(string(said), "data-science-reads") {
		return fmt.Errorf("bob was not stopped by the policy: %w\n%s", err, said)
	}
	return d.bob.show(ctx, cortexBin, "whoami")
}

// untilPolicy waits until the server says that a policy is in force.
func (p *person) untilPolicy(ctx context.Context, words string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := p.output(ctx, cortexBin, "whoami", "-o", "json")
		switch {
		case err == nil && strings.Contains(out, words):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the policy was not taken over: %w", err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *iamDemo) showAudit(ctx context.Context) error {
	d.title("All of that is in the audit, refusals too")
	if err := d.alice.show(ctx, cortexBin, "audit"); err != nil {
		return err
	}
	d.title("Take it away again")
	return d.alice.show(ctx, cortexBin, "delete", "iris", "--force")
}
