package guard_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// stsSaid is in whatever a test makes STS say: it must not come out anywhere.
const stsSaid = "WHAT-STS-SAID"

// stsWords are in the refusals of STS itself.
var stsWords = []string{
	"The security token included", "The request signature we calculated", "Signature expired", "Credential should be scoped",
	"Rate exceeded", "Service Unavailable</b>", "is not able to process",
}

// witness keeps all that came out of a world: answers, log lines and the audit. At
// the end of the test it looks for what must not be in there.
type witness struct {
	mu      sync.Mutex
	secrets map[string]string // the text, and what it is
	logged  bytes.Buffer
	texts   []said
}

type said struct {
	where, text string
	unproven    bool // before the identity was proven: no account and no ARN either
}

// standardLog is what packages write past the logger they are given.
var standardLog = &witness{secrets: map[string]string{}}

func TestMain(m *testing.M) {
	log.SetOutput(standardLog)
	code := m.Run()
	for _, leak := range standardLog.leaks() {
		fmt.Fprintln(os.Stderr, "leak:", leak)
		code = 1
	}
	os.Exit(code)
}

func newWitness(t *testing.T) *witness {
	w := &witness{secrets: map[string]string{}}
	w.secret("what STS said", stsSaid)
	for _, s := range stsWords {
		w.secret("the words of STS", s)
	}
	t.Cleanup(func() { // the first to be registered is the last to run
		for _, leak := range w.leaks() {
			t.Error("leak:", leak)
		}
	})
	return w
}

// secret names what must not come out. The standard log has those of all tests.
func (w *witness) secret(what, text string) {
	if len(text) < 12 {
		return
	}
	w.mu.Lock()
	w.secrets[text] = what
	w.mu.Unlock()
	if w != standardLog {
		standardLog.secret(what, text)
	}
}

// Write takes log lines.
func (w *witness) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(p)
}

// answer takes an answer. permitted is the one secret that is meant for the caller.
func (w *witness) answer(where string, resp *http.Response, body []byte, permitted string) {
	var b strings.Builder
	fmt.Fprintln(&b, resp.Status)
	_ = resp.Header.Write(&b)
	text := string(body)
	if permitted != "" {
		text = strings.ReplaceAll(text, permitted, "")
	}
	b.WriteString(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	unproven := resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden
	w.texts = append(w.texts, said{"the answer to " + where, b.String(), unproven})
}

// file takes the audit. Each line without a principal is one from before proof.
func (w *witness) file(where, path string) {
	data, err := os.ReadFile(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.texts = append(w.texts, said{where: where, text: err.Error()})
		return
	}
	for line := range strings.Lines(string(data)) {
		w.texts = append(w.texts, said{where, line, !strings.Contains(line, `"principal"`)})
	}
}

func (w *witness) leaks() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.logged.String()) {
		w.texts = append(w.texts, said{"the log", line, true})
	}
	known := map[string]bool{}
	for _, s := range w.texts {
		// Each leak is told once for each place.
		found := func(what string) {
			if key := what + s.where; !known[key] {
				known[key] = true
				all = append(all, fmt.Sprintf("%s is in %s: %.300s", what, s.where, s.text))
			}
		}
		for text, what := range w.secrets {
			if strings.Contains(s.text, text) {
				found(what)
			}
		}
		if s.unproven && (strings.Contains(s.text, ownAccount) || strings.Contains(s.text, otherAccount) || strings.Contains(s.text, "arn:aws")) {
			found("an account or an ARN, before proof,")
		}
	}
	return all
}

// newQuietLog is for servers whose callers break off on purpose.
func newQuietLog() *log.Logger { return log.New(io.Discard, "", 0) }
