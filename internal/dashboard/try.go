package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// maxAnswer bounds what a page gets of an answer.
const maxAnswer = 256 << 10

// TryRequest is what a page sends to an API.
type TryRequest struct {
	Method      string `json:"method"`
	Path        string `json:"path"` // below the endpoint
	Body        string `json:"body"`
	ContentType string `json:"content_type"`
	Key         string `json:"key,omitempty"` // Authorization: Bearer; empty: what the command line has
}

// TryAnswer is what came of it.
type TryAnswer struct {
	Status      int               `json:"status"`
	Took        float64           `json:"seconds"`
	ContentType string            `json:"content_type"`
	Headers     map[string]string `json:"headers"` // those of Cortex and of limits
	Body        string            `json:"body"`
	Cut         bool              `json:"cut"` // there is more of it
	Binary      bool              `json:"binary"`
}

var tryMethods = map[string]bool{"GET": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "HEAD": true}

// Check reports what is wrong with r.
func (r TryRequest) Check() error {
	switch {
	case !tryMethods[r.Method]:
		return fault.New(fault.Malformed, "dashboard.try", "the method is %q", r.Method).WithHint("use GET, HEAD, POST, PUT, PATCH or DELETE")
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"), strings.ContainsAny(r.Path, "\r\n#\\"):
		return fault.New(fault.Malformed, "dashboard.try", "the path is %q", r.Path).WithHint("it begins with /, below the endpoint of the API")
	}
	return nil
}

func (s *Server) try(w http.ResponseWriter, r *http.Request, body []byte) {
	asked, err := asked[TryRequest](body, "dashboard.try")
	if err != nil {
		httpapi.WriteFault(w, err)
		return
	}
	begun := time.Now()
	resp, err := s.cfg.Try(r.Context(), r.PathValue("name"), asked)
	if err != nil {
		httpapi.WriteFault(w, err)
		return
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		httpapi.WriteFault(w, fault.New(fault.Disconnected, "dashboard.try", "reading the answer: %w", err))
		return
	}
	answer := TryAnswer{Status: resp.StatusCode, Took: time.Since(begun).Seconds(), ContentType: resp.Header.Get("Content-Type"), Headers: map[string]string{}, Cut: len(data) > maxAnswer}
	data = data[:min(len(data), maxAnswer)]
	if answer.Binary = !utf8.Valid(data) && !answer.Cut; answer.Binary {
		answer.Body = fmt.Sprintf("%d bytes that are no text", len(data))
	} else {
		answer.Body = strings.ToValidUTF8(string(data), "")
	}
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "X-Cortex-") || strings.HasPrefix(name, "Ratelimit") || name == "X-Request-Id" || name == "Retry-After" || name == "Www-Authenticate" {
			answer.Headers[name] = strings.Join(values, ", ")
		}
	}
	reply(w, answer)
}

// asked is what a page asks for, checked; code is that of the fault when it cannot be read.
func asked[T interface{ Check() error }](body []byte, code string) (r T, _ error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fault.New(fault.Malformed, code, "the request cannot be read: %w", err)
	}
	return r, r.Check()
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the browser is gone; nobody is left to tell
}
