package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of a request.
const (
	// maxBodyBytes leaves room for a file of the greatest size in which every
	// byte is escaped as JSON does with newlines and quotes.
	maxBodyBytes = 2*(workload.MaxConfigBytes+workload.MaxEnvFiles*workload.MaxEnvFileBytes) + 64<<10
	// bodyPatience is how long the whole body may take to arrive.
	bodyPatience = time.Minute
	// maxNameBytes is beyond every name and id there can be.
	maxNameBytes = 253
)

// query is every query parameter there is; each route declares those it takes.
type query struct {
	follow, previous, keepCache, denied, force, errors bool
	since                                              time.Duration
	tail, batch                                        int
	replica, principal, job                            string
	states                                             []string
	before                                             string
	labels                                             map[string]string
	limit                                              int
	api, caller                                        string
}

// param is one query parameter: how it is documented and how it is read.
type param struct {
	name, kind, format, about string // kind and format as in JSON Schema
	set                       func(*query, string) error
}

var (
	paramFollow = param{name: "follow", kind: "boolean", about: "wait for more until the caller goes away",
		set: func(q *query, v string) (err error) { q.follow, err = parseBool(v); return err }}
	paramPrevious = param{name: "previous", kind: "boolean", about: "the previous run of each container",
		set: func(q *query, v string) (err error) { q.previous, err = parseBool(v); return err }}
	paramKeepCache = param{name: "keep_cache", kind: "boolean", about: "keep history and logs",
		set: func(q *query, v string) (err error) { q.keepCache, err = parseBool(v); return err }}
	paramSince = param{name: "since", kind: "string", format: "duration such as 90s or 1h30m", about: "only what is this young; absent means all that is kept",
		set: func(q *query, v string) (err error) { q.since, err = parseSince(v); return err }}
	paramTail = param{name: "tail", kind: "integer", about: "only the last n lines; 0 or absent means all",
		set: func(q *query, v string) (err error) { q.tail, err = parseCount(v); return err }}
	paramReplica = param{name: "replica", kind: "string", about: "one replica, by its id or a unique prefix of it",
		set: func(q *query, v string) (err error) { q.replica, err = parseToken(v); return err }}
	paramState = param{name: "state", kind: "string", about: "only items in one of these states, with commas between them",
		set: func(q *query, v string) error {
			v, err := parseToken(v)
			if v != "" {
				q.states = strings.Split(v, ",")
			}
			return err
		}}
	paramStatus = param{name: "status", kind: "string", about: "only jobs with one of these statuses, with commas between them", set: paramState.set}
	paramErrors = param{name: "errors", kind: "boolean", about: "of the batches that failed, and why",
		set: func(q *query, v string) (err error) { q.errors, err = parseBool(v); return err }}
	paramBatch = param{name: "batch", kind: "integer", about: "which batch of the job, from 0",
		set: func(q *query, v string) (err error) { q.batch, err = parseCount(v); return err }}
	paramJob = param{name: "job", kind: "string", about: "of a BatchAPI or TaskAPI: the id of the job whose workers' lines are wanted",
		set: func(q *query, v string) (err error) { q.job, err = parseToken(v); return err }}
	paramLabel = param{name: "label", kind: "string", about: "only items with these labels: name=value, with commas between them",
		set: func(q *query, v string) (err error) { q.labels, err = parseLabels(v); return err }}
	paramHookState = param{name: "state", kind: "string", about: "only messages in one of these states, with commas between them",
		set: paramState.set}
	paramBefore = param{name: "before", kind: "string", about: "only items that were accepted before the one with this id",
		set: func(q *query, v string) (err error) { q.before, err = parseToken(v); return err }}
	paramAPI = param{name: "api", kind: "string", about: "of one API only",
		set: func(q *query, v string) (err error) { q.api, err = parseToken(v); return err }}
	paramCaller = param{name: "caller", kind: "string", about: "of one caller only",
		set: func(q *query, v string) (err error) { q.caller, err = parseToken(v); return err }}
	paramLimit = param{name: "limit", kind: "integer", about: "at most so many; 0 or absent means 1000, which is the most",
		set: func(q *query, v string) (err error) { q.limit, err = parseCount(v); return err }}
	paramDenied = param{name: "denied", kind: "boolean", about: "refusals only",
		set: func(q *query, v string) (err error) { q.denied, err = parseBool(v); return err }}
	paramForce = param{name: "force", kind: "boolean", about: "also where something refers to it",
		set: func(q *query, v string) (err error) { q.force, err = parseBool(v); return err }}
	paramPrincipal = param{name: "principal", kind: "string", about: "what one identity did: its ARN in any form, or the end of one such as user/alice",
		set: func(q *query, v string) (err error) { q.principal, err = parseToken(v); return err }}
)

func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errors.New("use true or false")
	}
	return b, nil
}

func parseSince(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, errors.New("use a duration such as 90s, 15m or 1h30m")
	}
	return d, nil
}

func parseCount(v string) (int, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, errors.New("use a whole number from 0")
	}
	return int(n), nil
}

func parseLabels(v string) (map[string]string, error) {
	labels := map[string]string{}
	for one := range strings.SplitSeq(v, ",") {
		name, value, is := strings.Cut(one, "=")
		if !is || !workload.LegalItemLabel(name, value) {
			return nil, errors.New("use name=value: " + workload.ItemLabelRule)
		}
		labels[name] = value
	}
	return labels, nil
}

func parseToken(v string) (string, error) {
	if len(v) > maxNameBytes || !utf8.ValidString(v) {
		return "", fmt.Errorf("use at most %d characters", maxNameBytes)
	}
	return v, nil
}

// readPath reads and checks what the path names: all that is looked at before a
// guard knows who is calling.
func readPath(w http.ResponseWriter, r *http.Request) (input, error) {
	in := input{name: r.PathValue("name"), id: r.PathValue("id"), origin: originOf(w, r)}
	for _, v := range []string{in.name, in.id} {
		if len(v) > maxNameBytes || !utf8.ValidString(v) {
			return in, fault.New(fault.Malformed, "endpoints.path_param_malformed",
				"the path names something of %d characters", len(v)).
				WithHint("names and ids have at most %d characters", maxNameBytes)
		}
	}
	return in, nil
}

// readRest reads and checks everything else of r that rt takes, and refuses what
// it does not.
func readRest(w http.ResponseWriter, r *http.Request, rt route, in *input) (err error) {
	if rt.events {
		if in.after, err = parseToken(r.Header.Get(headerLastEvent)); err != nil {
			return fault.New(fault.Malformed, "endpoints.header_malformed", "the header %s has %d characters", headerLastEvent, len(r.Header.Get(headerLastEvent))).
				WithHint("it is the id of a line of this stream")
		}
	}
	if in.query, err = readQuery(r.URL.RawQuery, rt.query); err != nil || rt.body == nil {
		return err
	}
	in.body = rt.body()
	if _, ok := in.body.(*rawProof); ok {
		in.body = readProof(w, r)
		return nil
	}
	if secret, ok := in.body.(*rawSecret); ok {
		return readSecret(w, r, secret)
	}
	return readBody(w, r, in.body, rt.bodyOptional)
}

// readQuery reads the parameters that are taken and refuses any other.
func readQuery(raw string, taken []param) (query, error) {
	var q query
	if raw == "" {
		return q, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fault.New(fault.Malformed, "endpoints.query_malformed", "the query cannot be read: %s", clip(err.Error()))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		i := slices.IndexFunc(taken, func(p param) bool { return p.name == name })
		if i < 0 {
			return query{}, fault.New(fault.Malformed, "endpoints.query_param_unknown",
				"there is no query parameter %q here", clip(name)).WithHint("%s", takenHint(taken))
		}
		given := values[name]
		if len(given) > 1 {
			return query{}, fault.New(fault.Malformed, "endpoints.query_param_malformed",
				"the query parameter %q is given %d times", name, len(given)).WithHint("give it once")
		}
		if err := taken[i].set(&q, given[0]); err != nil {
			return query{}, fault.New(fault.Malformed, "endpoints.query_param_malformed",
				"the query parameter %q cannot be %q", name, clip(given[0])).WithHint("%s", err.Error())
		}
	}
	return q, nil
}

func takenHint(taken []param) string {
	if len(taken) == 0 {
		return "this operation takes none"
	}
	names := make([]string, len(taken))
	for i, p := range taken {
		names[i] = p.name
	}
	return "this operation takes " + strings.Join(names, ", ")
}

// readBody reads a bounded JSON body strictly into v.
func readBody(w http.ResponseWriter, r *http.Request, v any, optional bool) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return statusOf(http.StatusRequestTimeout, fault.New(fault.Malformed, "endpoints.body_too_slow",
			"the body did not arrive within %s", bodyPatience).WithHint("repeat the call"))
	case err != nil:
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body ended early: %w", err)
	case len(data) == 0 && optional:
		return nil
	case len(data) == 0:
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body is empty").
			WithHint("send a JSON object")
	}
	if media, _, err := mediaType(r); err != nil || media != contentJSON {
		return statusOf(http.StatusUnsupportedMediaType, fault.New(fault.Malformed, "endpoints.content_type",
			"the body is of type %q", clip(strings.Join(r.Header.Values("Content-Type"), ", "))).WithHint("send Content-Type: %s", contentJSON))
	}
	return decodeStrict(data, v)
}

func bodyTooLarge() error {
	return statusOf(http.StatusRequestEntityTooLarge, fault.New(fault.Malformed, "endpoints.body_too_large",
		"the body is larger than %d bytes", maxBodyBytes).
		WithHint("a configuration file may have %d bytes", workload.MaxConfigBytes))
}

// decodeStrict reads exactly one JSON object without unknown keys.
func decodeStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body is not valid UTF-8")
	}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body is not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body cannot be read: %s", jsonComplaint(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body has data after its JSON object, at byte %d", dec.InputOffset())
	}
	return nil
}

// jsonComplaint is err in the words of whoever wrote the JSON, not of the Go types.
func jsonComplaint(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch text := err.Error(); {
	case errors.As(err, &kind):
		return fmt.Sprintf("%s cannot be a %s", clip(kind.Field), clip(kind.Value))
	case errors.As(err, &syntax):
		return fmt.Sprintf("%s, at byte %d", clip(strings.TrimPrefix(text, "json: ")), syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends in the middle"
	default:
		return clip(strings.Replace(strings.TrimPrefix(text, "json: "), "unknown field", "there is no key", 1))
	}
}
