package awsrecord

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Player answers from a recording: each question as it was answered then, questions that
// are the same in the order in which they were asked, the last answer again and again.
type Player struct {
	renames *strings.Replacer // of names in questions, to those of the recording
	back    *strings.Replacer

	mu      sync.Mutex
	scrub   scrubber
	answers map[string][]Answer
	unknown []string
}

// Play reads a recording. renames are names that this account has, by what they are in the
// recording: some are made of the number of the account, which a recording does not have.
func Play(dir string, renames map[string]string) (*Player, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the recording: %w", err)
	}
	if len(files) == 0 || len(files) > maxExchanges {
		return nil, fmt.Errorf("%s has %d exchanges; want 1 to %d", dir, len(files), maxExchanges)
	}
	slices.Sort(files)
	var there, back []string
	for recorded, here := range renames {
		there, back = append(there, here, recorded), append(back, recorded, here)
	}
	p := &Player{renames: strings.NewReplacer(there...), back: strings.NewReplacer(back...), scrub: newScrubber(""), answers: map[string][]Answer{}}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the recording: %w", err)
		}
		var e Exchange
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("%s is no exchange: %w", file, err)
		}
		k := key(e.Service, e.Action, e.Request)
		p.answers[k] = append(p.answers[k], e.Response)
	}
	return p, nil
}

// Unknown are the questions that the recording has no answer to.
func (p *Player) Unknown() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.unknown)
}

// Do implements Client.
func (p *Player) Do(r *http.Request) (*http.Response, error) {
	body, err := taken(&r.Body)
	if err != nil {
		return nil, err
	}
	service, action := Operation(r, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.scrub.question(r, body)
	q.Path, q.Query, q.Body = p.renames.Replace(q.Path), p.renames.Replace(q.Query), p.renames.Replace(q.Body)
	k := key(service, action, q)
	answers := p.answers[k]
	if len(answers) == 0 {
		p.unknown = append(p.unknown, k)
		return nil, fmt.Errorf("the recording has no answer to %s", k)
	}
	if len(answers) > 1 {
		p.answers[k] = answers[1:]
	}
	a := answers[0]
	if a.Error != "" {
		return nil, fmt.Errorf("as recorded: %s", a.Error)
	}
	resp := &http.Response{
		StatusCode: a.Status, Status: http.StatusText(a.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(p.back.Replace(a.Body))),
	}
	for name, v := range a.Headers {
		resp.Header.Set(name, v)
	}
	return resp, nil
}

var (
	// What is another each time: ids that clients make up, and times.
	uuidShape = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// What makes the same call again the same operation.
	onceShape = regexp.MustCompile(`cortex-[a-z]+-(?:[0-9a-f]{16}|UUID)|(?i:clientRequestToken|ClientToken)(=|"\s*:\s*")[^&"]+`)
	timeShape = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}(:|%3A)[0-9]{2}(:|%3A)[0-9]{2}(\.[0-9]+)?Z`)
)

// key is what makes two questions the same.
func key(service, action string, q Question) string {
	if service == "s3" && q.Method == http.MethodPut {
		q.Body = "" // notes have times in them, and who wrote them
	}
	text := strings.Join([]string{service, action, q.Method, q.Path, q.Query, q.Body}, " ")
	text = onceShape.ReplaceAllString(uuidShape.ReplaceAllString(text, "UUID"), "ONCE")
	return timeShape.ReplaceAllString(text, "TIME")
}
