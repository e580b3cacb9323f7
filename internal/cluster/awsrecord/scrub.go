package awsrecord

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// scrubber takes out of texts what nobody else is to know. The same thing becomes the same
// other thing throughout a recording.
type scrubber struct {
	machine  string
	accounts map[string]string
}

func newScrubber(machine string) scrubber {
	return scrubber{machine: machine, accounts: map[string]string{}}
}

// accountNumber is the number that the n-th account of a recording gets.
func accountNumber(n int) string {
	digits := "1234567890"
	d := string(digits[n%len(digits)])
	e := string(digits[(n+1)%len(digits)])
	f := string(digits[(n+2)%len(digits)])
	return strings.Repeat(d, 4) + strings.Repeat(e, 4) + strings.Repeat(f, 4)
}

var (
	// Words, and what is escaped between them.
	wordShape    = regexp.MustCompile(`%[0-9A-F]{2}|[0-9A-Za-z]+`)
	accountShape = regexp.MustCompile(`^[0-9]{12}$`)
	// Ids of keys, and of users, roles and sessions.
	idShape = regexp.MustCompile(`\b(AKIA|ASIA|AIDA|AROA|AGPA|ANPA)[A-Z0-9]{12,17}\b(:[^"'<>&\s,]+)?`)
	// Users, and who has taken on a role; in paths colons and slashes are escaped.
	personShape = regexp.MustCompile(`((?::|%3A)(?:user|assumed-role)(?:/|%2F))([^"'<>&\s,)]+)`)
	tokenShape  = regexp.MustCompile(`(?i)((?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|SessionToken|SecretAccessKey)(?:=|%3D|"\s*:\s*"|>))([^"&<\s]+)`)
	objectShape = regexp.MustCompile(`<Key>[^<]*</Key>`)
)

// text scrubs any text.
func (s *scrubber) text(t string) string {
	t = tokenShape.ReplaceAllString(t, "${1}removed")
	t = idShape.ReplaceAllString(t, "${1}EXAMPLEEXAMPLE12")
	t = personShape.ReplaceAllString(t, "${1}somebody")
	if s.machine != "" {
		t = strings.ReplaceAll(t, s.machine, "machine")
	}
	return wordShape.ReplaceAllStringFunc(t, func(word string) string {
		if accountShape.MatchString(word) {
			return s.account(word)
		}
		return word
	})
}

func (s *scrubber) account(number string) string {
	for _, known := range s.accounts {
		if known == number {
			return number // it has been replaced already
		}
	}
	if s.accounts[number] == "" {
		s.accounts[number] = accountNumber(len(s.accounts))
	}
	return s.accounts[number]
}

func (s *scrubber) body(data []byte) string {
	if len(data) > maxBody {
		return s.text(string(data[:maxBody])) + "\n… cut by the recorder"
	}
	return s.text(string(data))
}

func (s *scrubber) question(r *http.Request, body []byte) Question {
	// Piece by piece: what is between slashes belongs to one thing.
	path := strings.Split(hostPath(r), "/")
	for i := range path {
		path[i] = s.text(path[i])
	}
	return Question{Method: r.Method, Path: strings.Join(path, "/"), Query: s.text(r.URL.RawQuery), Body: withoutObjects(s.body(body))}
}

// hostPath is the path of a request; a bucket, which is in the name of its host, stands
// before it.
func hostPath(r *http.Request) string {
	if bucket, _, ok := strings.Cut(r.URL.Host, ".s3."); ok {
		return "/" + bucket + r.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}

// told are the headers of answers that say something to a client.
var told = []string{"Content-Type", "Etag", "X-Amzn-Errortype", "X-Amz-Version-Id", "X-Amz-Bucket-Region", "X-Amzn-Query-Error"}

func (s *scrubber) answer(action string, r *http.Response, body []byte) Answer {
	a := Answer{Status: r.StatusCode, Headers: map[string]string{}}
	for _, name := range told {
		if v := r.Header.Get(name); v != "" {
			a.Headers[name] = s.text(v)
		}
	}
	if action == "DescribeStacks" {
		body = onlyOurStacks(body)
	}
	a.Body = withoutObjects(s.body(body))
	return a
}

// objectLists are the elements in which a key is that of an object of a bucket, not of a tag.
var objectLists = []string{"<ListVersionsResult", "<ListBucketResult", "<ListMultipartUploadsResult", "<DeleteResult", "<Delete ", "<Delete>"}

// withoutObjects takes out what users call what they have put into a bucket.
func withoutObjects(text string) string {
	for _, list := range objectLists {
		if strings.Contains(text, list) {
			return objectShape.ReplaceAllString(text, "<Key>object</Key>")
		}
	}
	return text
}

// onlyOurStacks leaves stacks out that are not of a Cortex cluster: their parameters and
// outputs are nobody's business. What cannot be read is left out whole.
func onlyOurStacks(body []byte) []byte {
	type span struct{ from, to int64 }
	var foreign []span
	d := xml.NewDecoder(bytes.NewReader(body))
	var path []string
	var from int64
	named, depth := "", 0
	for {
		before := d.InputOffset()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if depth == 0 && len(path) > 1 && t.Name.Local == "member" && path[len(path)-2] == "Stacks" {
				depth, from, named = len(path), before, ""
			}
		case xml.CharData:
			if depth > 0 && len(path) == depth+1 && path[depth] == "StackName" {
				named += string(t)
			}
		case xml.EndElement:
			if len(path) == depth && depth > 0 {
				if !strings.HasPrefix(named, "eksctl-") || !strings.Contains(named, "-cortex-") {
					foreign = append(foreign, span{from, d.InputOffset()})
				}
				depth = 0
			}
			path = path[:len(path)-1]
		}
	}
	var kept []byte
	var at int64
	for _, f := range foreign {
		kept = append(kept, body[at:f.from]...)
		at = f.to
	}
	return append(kept, body[at:]...)
}
