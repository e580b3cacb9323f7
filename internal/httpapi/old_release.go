package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// CodeOldRelease is the code of the fault that the operator is one of cortex 0.42 or of
// a release before it.
const CodeOldRelease = "cli.operator_of_old_release"

// ofOldRelease turns err, which says that whoever answers is no operator that can be
// trusted or understood, into that it is one of an old release where that is so.
func (c *Client) ofOldRelease(ctx context.Context, err error) error {
	if c.socket != "" || !c.answersAsOldRelease(ctx) {
		return err
	}
	return fault.New(fault.Disconnected, CodeOldRelease, "%s is an operator of cortex 0.42 or an earlier release, which this program cannot manage", c.where).
		WithHint("manage it with the program that installed it; for this machine add `-e local`, or make it the default with `cortex env default local`")
}

// answersAsOldRelease asks what those releases answered to anybody, by a certificate that
// nobody vouches for. So it is not looked at: the question carries nothing, and all that
// comes of the answer is which sentence the user reads.
func (c *Client) answersAsOldRelease(ctx context.Context) bool {
	const patience, most = 5 * time.Second, 4096
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/verifycortex", nil)
	if err != nil {
		return false
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	var answer struct {
		Provider string `json:"provider"` // of releases 0.24 to 0.32
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return err == nil && resp.StatusCode == http.StatusOK && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && dec.Decode(&answer) == nil
}
