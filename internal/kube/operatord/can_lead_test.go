package operatord

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/hostconfig"
)

// What only a leader reads is read before a replica says that it could lead.
func TestCanLead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := hostconfig.Management{Account: "111122223333", Region: "us-west-2", ClusterName: "cortex"}
	for _, tt := range []struct {
		name   string
		change func(*hostconfig.Management)
		want   string // empty: it can
	}{
		{"nothing special", func(*hostconfig.Management) {}, ""},
		{"a policy", func(m *hostconfig.Management) { m.PolicyFile = file("good", "permit (principal, action, resource);") }, ""},
		{"no account yet", func(m *hostconfig.Management) {
			m.Account, m.PolicyFile = "", file("own", "permit (principal, action, resource);")
		}, ""},
		{"a policy that cannot be read", func(m *hostconfig.Management) { m.PolicyFile = file("bad", "permit principal;") }, "bad:1"},
		{"no policy file", func(m *hostconfig.Management) { m.PolicyFile = filepath.Join(dir, "none") }, "none"},
		{"a certificate that is none", func(m *hostconfig.Management) { m.TLSCert, m.TLSKey = file("crt", "x"), file("key", "y") }, "crt"},
		{"no certificate file", func(m *hostconfig.Management) {
			m.TLSCert, m.TLSKey = filepath.Join(dir, "gone.crt"), filepath.Join(dir, "gone.key")
		}, "gone.crt"},
		{"a role that is none", func(m *hostconfig.Management) { m.PlatformRoles = []string{"arn:aws:iam::111122223333:user/x"} }, "is not the ARN of a role"},
	} {
		management := good
		tt.change(&management)
		p := &operatorProgram{cfg: Config{Management: management, Log: slog.New(slog.DiscardHandler)}}
		err := p.canLead(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: canLead = %v, want %q", tt.name, err, tt.want)
		}
	}
}
