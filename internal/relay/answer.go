package relay

import (
	"net/http"
	"strconv"
	"time"

	"encoding/json"
)

// Answer is a response that is made here instead of by an upstream.
type Answer struct {
	Status     int
	Code       string        // stable; X-Cortex-Reason
	Message    string        // one sentence for people
	Text       bool          // the body is Message as plain text, not JSON
	Origin     string        // X-Cortex-Origin; empty: none
	RetryAfter time.Duration // rounded up to seconds; 0: no such field
	// Problem has the body be problem details (RFC 9457) of that type, with Limit, if there is
	// one, as what was violated. Challenge is WWW-Authenticate; empty: none.
	Problem   string
	Limit     string
	Challenge string
	// Fields, if there are any, are what else the head says, the type of the body included,
	// and Whole is the body: of an answer that is not one sentence. It is bounded by whoever
	// makes it: it is sent as one piece. Message says nothing then.
	Fields http.Header
	Whole  []byte
}

// Body returns the body of a and its media type.
func (a *Answer) Body() (body []byte, mediaType string) {
	if a.Fields != nil {
		return a.Whole, a.Fields.Get("Content-Type")
	}
	if a.Text {
		return append([]byte(a.Message), '\n'), "text/plain; charset=utf-8"
	}
	if a.Problem != "" {
		return a.problem()
	}
	body, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{a.Code, a.Message})
	if err != nil { // two strings always marshal
		body = []byte(`{}`)
	}
	return append(body, '\n'), "application/json"
}

// problem is the body of problem details. The names of what is violated are those of the
// draft of RateLimit fields for HTTP; code and message are ours, as in every other answer.
func (a *Answer) problem() (body []byte, mediaType string) {
	p := struct {
		Type     string   `json:"type"`
		Title    string   `json:"title"`
		Status   int      `json:"status"`
		Detail   string   `json:"detail"`
		Code     string   `json:"code"`
		Message  string   `json:"message"`
		Violated []string `json:"violated-policies,omitempty"`
	}{Type: a.Problem, Title: http.StatusText(a.Status), Status: a.Status, Detail: a.Message, Code: a.Code, Message: a.Message}
	if a.Limit != "" {
		p.Violated = []string{a.Limit}
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers always marshal
		body = []byte(`{}`)
	}
	return append(body, '\n'), "application/problem+json"
}

// RetrySeconds is what Retry-After says; 0: nothing.
func (a *Answer) RetrySeconds() int {
	return int((a.RetryAfter + time.Second - 1) / time.Second)
}

// appendAnswer appends a whole response.
func (c *conn) appendAnswer(out []byte, a *Answer, closing bool) []byte {
	if c.x.call.is {
		return c.appendCallAnswer(out, a)
	}
	closing = closing && c.st == nil
	body, mediaType := a.Body()
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(a.Status), 10)
	out = append(append(append(out, ' '), http.StatusText(a.Status)...), "\r\nDate: "...)
	out = time.Now().UTC().AppendFormat(out, http.TimeFormat)
	out = append(append(out, "\r\nContent-Type: "...), mediaType...)
	out = append(out, "\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	if a.Code != "" {
		out = append(append(out, "\r\nX-Cortex-Reason: "...), a.Code...)
	}
	for name, values := range a.Fields {
		for _, v := range values {
			if name != "Content-Type" {
				out = append(append(append(append(out, crlf...), name...), ": "...), v...)
			}
		}
	}
	if a.Origin != "" {
		out = append(append(out, "\r\nX-Cortex-Origin: "...), a.Origin...)
	}
	if s := a.RetrySeconds(); s > 0 {
		out = append(out, "\r\nRetry-After: "...)
		out = strconv.AppendInt(out, int64(s), 10)
	}
	if a.Challenge != "" {
		out = append(append(out, "\r\nWWW-Authenticate: "...), a.Challenge...)
	}
	if c.x.idLen > 0 {
		out = append(append(out, "\r\nX-Request-ID: "...), c.x.id()...)
	}
	if closing {
		out = append(out, "\r\nConnection: close"...)
	} else if c.req.minor == 0 {
		out = append(out, "\r\nConnection: keep-alive"...)
	}
	out = append(append(append(out, crlf...), c.x.added...), crlf...)
	if !c.x.toHead {
		out = append(out, body...)
	}
	return out
}
