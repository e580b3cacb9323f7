package relay

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestH2spec has h2spec judge the server: some 150 cases of RFC 7540 and 7541.
func TestH2spec(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("h2spec is not run: it takes some seconds")
	}
	module, err := filepath.Abs("../../tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "h2spec")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile="+module, "-o", program, "github.com/summerwind/h2spec/cmd/h2spec")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("h2spec cannot be built here, which judges HTTP/2: %v: %s", err, out)
	}
	_, addr := relayHandler(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-h", host, "-p", port, "-P", "/x", "-o", "10").CombinedOutput()
	passed := strings.Count(string(out), "✔")
	_, failures, _ := strings.Cut(string(out), "Failures:")
	for line := range strings.Lines(failures) {
		// What is no preface is taken for HTTP/1.1, and answered so.
		if strings.Contains(line, "×") && !strings.Contains(line, "Sends invalid connection preface") {
			t.Errorf("%s", strings.TrimSpace(line))
		}
	}
	if passed < 100 {
		t.Errorf("%d cases passed, want 140: %v\n%s", passed, err, out)
	}
}
