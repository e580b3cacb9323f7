package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
)

func signatureOf(digit int) string { return strings.Repeat(fmt.Sprint(digit), 64) }

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ask sends a proof to a handler over a real connection, with little patience.
func ask(t *testing.T, patience time.Duration, h http.HandlerFunc) error {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	s, err := NewSTS(t.Context(), STSConfig{Region: testRegion, Endpoint: server.URL, timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.identify(t.Context(), auth.Binding{Host: s.host, Region: testRegion, ClusterID: "x", TLSFingerprint: "x", Nonce: "x"}, auth.Proof{
		AccessKeyID: "AKIAIOSFODNN7EXAMPLE", AMZDate: "20260203T040506Z", Signature: signatureOf(0),
	}, func() bool { return true })
	return err
}

// TestSlowSTS has STS take its time in each way there is: all of it together ends
// when patience does, and it is not asked again.
func TestSlowSTS(t *testing.T) {
	t.Parallel()
	drip := func(w http.ResponseWriter, r *http.Request, text string) {
		w.Header().Set("Content-Type", "text/xml")
		for _, c := range []byte(text) {
			if _, err := w.Write([]byte{c}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"it says nothing":         func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"one byte now and then":   func(w http.ResponseWriter, r *http.Request) { drip(w, r, testAnswer) },
		"a refusal, byte by byte": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403); drip(w, r, testAnswer) },
		"all of it, but for an end": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, testAnswer)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			err := ask(t, 300*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				h(w, r)
			})
			if Reason(err) != ReasonDown || causeOf(err) != "it did not answer in time" {
				t.Errorf("identify = %s (%s), want %s", Reason(err), causeOf(err), ReasonDown)
			}
			if got := calls.Load(); got != 1 {
				t.Errorf("calls to STS = %d, want 1", got)
			}
		})
	}
}

// A proxy in between may say that we ask too often, too, in words of its own.
func TestThrottledByAProxy(t *testing.T) {
	t.Parallel()
	err := ask(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow down", http.StatusTooManyRequests) })
	if Reason(err) != ReasonThrottled {
		t.Errorf("identify = %s, want %s", Reason(err), ReasonThrottled)
	}
}

// TestRefuseInside is where the public name of STS may not lead.
func TestRefuseInside(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:443": false, "127.9.9.9:443": false, "[::1]:443": false, "[::ffff:127.0.0.1]:443": false, "0.0.0.0:443": false, "[::]:443": false,
		"169.254.169.254:443": false, "169.254.170.2:443": false, "[::ffff:169.254.169.254]:443": false, "[fe80::1%eth0]:443": false,
		"[fd00:ec2::254]:443": false, "[fd00:ec2::23]:443": false, "[fd00:ec2::253]:443": false, "100.100.100.200:443": false,
		"[64:ff9b::a9fe:a9fe]:443": false, "[64:ff9b::7f00:1]:443": false, "[64:ff9b::345e:101]:443": true, // NAT64
		"224.0.0.1:443": false, "[ff02::1]:443": false, "localhost:443": false, "": false,
		// A VPC endpoint is at a private address, under the public name.
		"10.0.0.7:443": true, "172.16.3.4:443": true, "192.168.1.1:443": true, "[fd12:3456::1]:443": true, "52.94.1.1:443": true, "[2600:1f14::1]:443": true,
	} {
		if err := refuseInside("tcp", address, nil); (err == nil) != want {
			t.Errorf("refuseInside(%q) = %v, want allowed %v", address, err, want)
		}
	}
}

// TestEndpoint is what the configuration may name.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "https://sts.us-west-2.amazonaws.com/", "https://sts-fips.us-east-1.amazonaws.com": "https://sts-fips.us-east-1.amazonaws.com/",
		"https://vpce-1.sts.us-west-2.vpce.amazonaws.com/": "https://vpce-1.sts.us-west-2.vpce.amazonaws.com/",
		"http://127.0.0.1:9000":                            "http://127.0.0.1:9000/", "http://[::1]:9000/": "http://[::1]:9000/", "http://localhost:9000": "http://localhost:9000/",
		"http://sts.us-west-2.amazonaws.com": "", "http://169.254.169.254": "", "http://10.0.0.1": "", "http://localhost.evil.example.com": "", "http://127.0.0.1.nip.io": "",
		"https://user:pass@sts.example.com": "", "https://sts.example.com/path": "", "https://sts.example.com/?x": "", "https://sts.example.com/#x": "",
		"ftp://sts.example.com": "", "sts.example.com": "", "https://": "", "https:///": "", "://": "", "https://:443": "", "file:///etc/passwd": "",
	} {
		s, err := NewSTS(t.Context(), STSConfig{Region: testRegion, Endpoint: text})
		if want == "" {
			if err == nil {
				t.Errorf("NewSTS(%q) = %s, want a refusal", text, s.url)
			}
			continue
		}
		if err != nil || s.url != want {
			t.Errorf("NewSTS(%q) = %v, %v, want %s", text, s, err, want)
			continue
		}
		if s.Host() != "sts.us-west-2.amazonaws.com" {
			t.Errorf("NewSTS(%q) signs for %s, want the region's public host", text, s.Host())
		}
	}
	for _, region := range []string{"", "us-west-2.evil.example.com", "us-west-2/", "us-west-2@evil", "US-WEST-2", "us-west-2\n", "..", "evil.example.com#"} {
		if _, err := NewSTS(t.Context(), STSConfig{Region: region}); err == nil {
			t.Errorf("NewSTS of the region %q = nil, want a refusal", region)
		}
	}
}

// TestProxyOfTheEnvironment has the environment name a proxy: STS is not asked
// through it. The environment is read once for each process, so it is another one.
func TestProxyOfTheEnvironment(t *testing.T) {
	const inside = "CORTEX_TEST_PROXIED"
	if os.Getenv(inside) != "" {
		s, err := NewSTS(t.Context(), STSConfig{Region: testRegion, Endpoint: "https://sts.example.invalid", timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.caller(t.Context(), func() bool { return true }, func(ctx context.Context) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodPost, s.url, nil)
		})
		return
	}
	t.Parallel()
	var reached atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(trap.Close)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironment$")
	cmd.Env = append(os.Environ(), inside+"=1")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		cmd.Env = append(cmd.Env, name+"="+trap.URL, strings.ToLower(name)+"="+trap.URL, "NO_PROXY=", "no_proxy=")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := reached.Load(); got != 0 {
		t.Errorf("the proxy of the environment was asked %d times, want never", got)
	}
}
