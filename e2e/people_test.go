package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cortex.dev/cortex/internal/auth/authtest"
)

// The accounts of the scripts: the server's, and somebody else's.
const (
	teamAccount  = "111122223333"
	otherAccount = "444455556666"
	teamRegion   = "us-west-2"
)

// people are who exists in the AWS of the scripts. Guess is no identity: it has
// Alice's key, and a secret that is not hers.
func people() map[string]authtest.Identity {
	person := func(name, key, arn, id string) authtest.Identity {
		who := authtest.Identity{
			AccessKeyID: key, SecretAccessKey: "secret/of+" + name + "/EXAMPLEKEY",
			ARN: "arn:aws:" + arn, UserID: id, Account: strings.Split(arn, ":")[2],
		}
		if strings.HasPrefix(key, "ASIA") {
			who.SessionToken = "session/token+of/" + name + "/EXAMPLE=="
		}
		return who
	}
	all := map[string]authtest.Identity{
		"alice":   person("alice", "AKIAALICEALICEEXAMPL", "iam::"+teamAccount+":user/alice", "AIDAALICEALICEEXAMPLE"),
		"bob":     person("bob", "ASIABOBBOBBOBBOBEXAM", "sts::"+teamAccount+":assumed-role/DataScience/bob", "AROADATASCIENCEEXAMPL:bob"),
		"carol":   person("carol", "ASIACAROLCAROLEXAMPL", "sts::"+teamAccount+":assumed-role/AWSReservedSSO_Admin_0123456789abcdef/carol@example.com", "AROACAROLSSOSSOEXAMPL:carol@example.com"),
		"dora":    person("dora", "AKIADORADORADOREXAMP", "iam::"+teamAccount+":user/teams/ml/dora", "AIDADORADORADOREXAMPL"),
		"root":    person("root", "AKIAROOTROOTROOTEXAM", "iam::"+teamAccount+":root", teamAccount),
		"node":    person("node", "ASIANODENODENODEEXAM", "sts::"+teamAccount+":assumed-role/node/i-0123456789abcdef0", "AROANODENODENODEEXAMP:i-0123456789abcdef0"),
		"mallory": person("mallory", "AKIAMALLORYMALLORYEX", "iam::"+otherAccount+":user/mallory", "AIDAMALLORYEXAMPLEEXA"),
		"erin":    person("erin", "ASIAERINERINERINEXAM", "sts::"+teamAccount+":assumed-role/DataScience/erin", "AROADATASCIENCEEXAMPL:erin"),
		"frank":   person("frank", "AKIAFRANKFRANKEXAMPL", "iam::"+teamAccount+":user/frank", "AIDAFRANKFRANKEXAMPLE"),
	}
	erin, frank := all["erin"], all["frank"]
	erin.ExpiresAt = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)
	frank.Disabled = true
	all["erin"], all["frank"] = erin, frank
	return all
}

// cmdAs makes the following commands those of a person with a home, a configuration
// and AWS credentials of their own: as alice. Nobody has no credentials.
func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as NAME")
	}
	name := args[0]
	who, known := people()[name]
	switch name {
	case "guess":
		who = people()["alice"]
		who.SecretAccessKey = "a/guess/that/is/not/hers"
	case "nobody":
	default:
		if !known {
			ts.Fatalf("there is no %s; there are %v, guess and nobody", name, slices.Sorted(maps.Keys(people())))
		}
	}
	home := filepath.Join(ts.Getenv("WORK"), "people", name)
	ts.Check(os.MkdirAll(home, 0o700))
	for variable, value := range map[string]string{
		"HOME": home, "CORTEX_CLI_CONFIG_DIR": filepath.Join(home, ".cortex"),
		"AWS_ACCESS_KEY_ID": who.AccessKeyID, "AWS_SECRET_ACCESS_KEY": who.SecretAccessKey, "AWS_SESSION_TOKEN": who.SessionToken,
		"AWS_EC2_METADATA_DISABLED": "true", // the machine of the tests may be an instance
	} {
		ts.Setenv(variable, value)
	}
}

// cmdSTS makes the STS of the script misbehave, and counts what it was asked:
//
//	sts down|up|throttle
//	sts delay 50ms
//	sts calls +2        it was asked for two identities since the last look
func cmdSTS(ts *testscript.TestScript, neg bool, args []string) {
	t := teamOf(ts)
	usage := func() { ts.Fatalf("usage: sts down|up|throttle|delay TIME|calls +N") }
	if neg || len(args) == 0 || t.sts == nil {
		usage()
	}
	set := func(format string, values ...any) {
		out, err := exchange([]string{"POST", t.stsURL + "/_set", fmt.Sprintf(format, values...)})
		ts.Check(err)
		if !strings.HasPrefix(out, "204\n") {
			ts.Fatalf("the STS was not changed: %s", out)
		}
	}
	switch {
	case len(args) == 1 && args[0] == "down":
		set(`{"down": true}`)
	case len(args) == 1 && args[0] == "throttle":
		set(`{"throttle": true}`)
	case len(args) == 1 && args[0] == "up":
		set(`{"down": false, "throttle": false, "delay_ms": 0}`)
	case len(args) == 2 && args[0] == "delay":
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		set(`{"delay_ms": %d}`, d.Milliseconds())
	case len(args) == 2 && args[0] == "calls":
		calls, err := t.calls()
		ts.Check(err)
		if got := fmt.Sprintf("+%d", calls-t.counted); got != args[1] {
			ts.Fatalf("sts calls = %s since the last look, want %s", got, args[1])
		}
		t.counted = calls
	default:
		usage()
	}
}

// cmdHTTPS is http to the management API of the team, whose authority it trusts,
// and sends no identity.
func cmdHTTPS(ts *testscript.TestScript, neg bool, args []string) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ts.ReadFile(ts.Getenv("CA")))) {
		ts.Fatalf("there is no certificate in %s", ts.Getenv("CA"))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	out, err := exchangeOver(transport, args)
	if (err != nil) != neg {
		ts.Fatalf("https %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	fmt.Fprint(ts.Stdout(), out)
}

// cmdFingerprint sets the variable to the fingerprint of the first certificate in a
// file, as openssl writes it: fingerprint VARIABLE FILE.
func cmdFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fingerprint VARIABLE FILE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	if block == nil {
		ts.Fatalf("there is no certificate in %s", args[1])
	}
	sum := sha256.Sum256(block.Bytes)
	ts.Setenv(args[0], strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":"))
}
