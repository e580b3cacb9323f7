package access

import (
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

func asking(auth workload.Auth) *workload.Spec {
	auth.Accept = []string{workload.AcceptKeys}
	return &workload.Spec{Name: "iris", Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: "/iris", Auth: &auth}}
}

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	keys, text := ring("alice", []string{"iris"}, now.Add(time.Hour))
	_, unknown := ring("mallory", nil, time.Time{})
	p := New(asking(workload.Auth{Allow: []workload.Allowed{{Paths: []string{"/healthz", "/"}, Methods: []string{"GET"}, Anyone: true}, {Paths: []string{"/open"}, Anyone: true}}}), nil)
	other := New(&workload.Spec{Name: "other", Networking: &workload.Networking{Auth: &workload.Auth{Accept: []string{"keys"}}}}, nil)
	get := func(path string) Request { return Request{Method: []byte("GET"), Path: []byte(path)} }
	with := func(r Request, authorization, apiKey string) Request {
		if authorization != "" {
			r.Authorization = []byte(authorization)
		}
		if apiKey != "" {
			r.APIKey = []byte(apiKey)
		}
		return r
	}
	twice := with(get("/x"), "Bearer "+text, "")
	twice.Twice = true
	for name, tt := range map[string]struct {
		policy *Policy
		r      Request
		at     time.Duration
		code   string
		caller string
	}{
		"a key":                           {p, with(get("/x"), "Bearer "+text, ""), 0, "", "alice"},
		"a scheme in other case":          {p, with(get("/x"), "bEARER  "+text, ""), 0, "", "alice"},
		"X-API-Key":                       {p, with(get("/x"), "", text), 0, "", "alice"},
		"X-API-Key beside Basic":          {p, with(get("/x"), "Basic dTpw", text), 0, "", "alice"},
		"the same key twice, in two ways": {p, with(get("/x"), "Bearer "+text, text), 0, "key_malformed", ""},
		"the API's own X-API-Key":         {p, with(get("/x"), "Bearer "+text, "something"), 0, "", "alice"},
		"two keys":                        {p, with(get("/x"), "Bearer "+text, unknown), 0, "key_malformed", ""},
		"one field twice":                 {p, twice, 0, "key_malformed", ""},
		"nothing":                         {p, get("/x"), 0, "credentials_missing", ""},
		"a key in the address":            {p, get("/x?key=" + text), 0, "credentials_missing", ""},
		"Basic":                           {p, with(get("/x"), "Basic dTpw", ""), 0, "key_malformed", ""},
		"an empty Authorization":          {p, Request{Path: []byte("/x"), Authorization: []byte{}}, 0, "key_malformed", ""},
		"a bare key":                      {p, with(get("/x"), text, ""), 0, "key_malformed", ""},
		"a typing error":                  {p, with(get("/x"), "Bearer "+text[:len(text)-1]+"!", ""), 0, "key_malformed", ""},
		"two keys in one field":           {p, with(get("/x"), "Bearer "+text+", Bearer "+text, ""), 0, "key_malformed", ""},
		"a token of something else":       {p, with(get("/x"), "Bearer eyJhbGciOiJub25lIn0.e30.", ""), 0, "key_malformed", ""},
		"a key of nobody":                 {p, with(get("/x"), "Bearer "+unknown, ""), 0, "key_unknown", ""},
		"the last moment of a key":        {p, with(get("/x"), "Bearer "+text, ""), time.Hour - 1, "", "alice"},
		"an expired key":                  {p, with(get("/x"), "Bearer "+text, ""), time.Hour, "key_expired", ""},
		"a key of another API":            {other, with(get("/x"), "Bearer "+text, ""), 0, "not_allowed", ""},
		"what anybody may":                {p, get("/healthz"), 0, "", ""},
		"what anybody may, with a query":  {p, get("/healthz?a=b"), 0, "", ""},
		"the root":                        {p, get(""), 0, "", ""},
		"the root with a query":           {p, get("?a"), 0, "", ""},
		"another method":                  {p, Request{Method: []byte("POST"), Path: []byte("/healthz")}, 0, "credentials_missing", ""},
		"another case":                    {p, get("/Healthz"), 0, "credentials_missing", ""},
		"below it":                        {p, get("/healthz/x"), 0, "credentials_missing", ""},
		"with a slash":                    {p, get("/healthz/"), 0, "credentials_missing", ""},
		"with an escape":                  {p, get("/%68ealthz"), 0, "credentials_missing", ""},
		"any method":                      {p, Request{Method: []byte("PURGE"), Path: []byte("/open")}, 0, "", ""},
		"what anybody may, with a key":    {p, with(get("/open"), "Bearer "+unknown, ""), 0, "", ""},
	} {
		g, refused := admit(tt.policy, keys, tt.r, now.Add(tt.at))
		got := ""
		if refused != nil {
			got = refused.Code
		}
		if got != tt.code || g.Caller.Name != tt.caller {
			t.Errorf("%s: %q as %q, want %q as %q", name, got, g.Caller.Name, tt.code, tt.caller)
		}
		if refused == nil {
			continue
		}
		if want := map[string]int{"not_allowed": 403}[got]; want == 0 && (refused.Status != 401 || refused.Challenge == "") || want != 0 && refused.Status != want {
			t.Errorf("%s: %d with the challenge %q", name, refused.Status, refused.Challenge)
		}
	}
}

func TestRevokedKeysAreGoodForNothing(t *testing.T) {
	t.Parallel()
	keys, text := ring("alice", nil, time.Time{})
	p := New(asking(workload.Auth{}), nil)
	r := Request{Path: []byte("/"), Authorization: []byte("Bearer " + text)}
	if _, refused := admit(p, keys, r, time.Now()); refused != nil {
		t.Fatal(refused)
	}
	keys.Set(nil)
	if _, refused := admit(p, keys, r, time.Now()); refused == nil || refused.Code != "key_unknown" {
		t.Errorf("a revoked key: %+v, want key_unknown", refused)
	}
	if _, refused := admit(p, &Keyring{}, r, time.Now()); refused == nil || refused.Code != "key_unknown" {
		t.Errorf("before any key is known: %+v, want key_unknown", refused)
	}
}

// Failed authentications take nothing: neither from the caller whose name they would be, nor
// from the address.
func TestStrangersUseNothingUp(t *testing.T) {
	t.Parallel()
	keys, text := ring("alice", nil, time.Time{})
	spec := asking(workload.Auth{})
	spec.Networking.Limits = []workload.Limit{{Name: "all", Quota: "1/1d"}, {Name: "each", Per: workload.PerAddress, Rate: "1/h"}}
	p := New(spec, nil)
	now := time.Now()
	for range 20 {
		if _, refused := admit(p, keys, Request{Path: []byte("/")}, now); refused == nil || refused.Status != 401 || refused.RateLimit != "" {
			t.Fatalf("a stranger: %+v, want 401 without a word of limits", refused)
		}
	}
	if _, refused := admit(p, keys, Request{Path: []byte("/"), Authorization: []byte("Bearer " + text)}, now); refused != nil {
		t.Errorf("the first request of a caller after twenty strangers: %+v, want it let in", refused)
	}
}

// Behind a splitter an API keeps its door, and of its limits those of requests at once.
func TestAdmitBehind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	keys, text := ring("alice", []string{"split"}, time.Time{})
	of := func(name string, auth bool, limits ...workload.Limit) *Policy {
		s := &workload.Spec{Name: name, Networking: &workload.Networking{Limits: limits}}
		if auth {
			s.Networking.Auth = &workload.Auth{Accept: []string{"keys"}}
		}
		return New(s, nil)
	}
	quota := workload.Limit{Name: "daily", Quota: "1/1d"}
	alice := Request{Path: []byte("/"), Authorization: []byte("Bearer " + text)}
	for name, tt := range map[string]struct {
		first, behind *Policy
		r             Request
		want          []string // codes of requests in turn, none of which ends
	}{
		"both are open":                {nil, nil, Request{}, []string{"", ""}},
		"the splitter asks":            {of("split", true), of("iris", true), alice, []string{"", ""}},
		"the splitter asks a stranger": {of("split", true), nil, Request{}, []string{"credentials_missing"}},
		"only the API asks":            {nil, of("iris", true), alice, []string{"not_allowed"}},
		"only the API asks a stranger": {of("split", false, quota), of("iris", true), Request{}, []string{"credentials_missing", "credentials_missing"}},
		"quotas are the splitter's":    {of("split", false, quota), of("iris", false, quota), Request{}, []string{"", "quota_exceeded"}},
		"quotas of the API alone":      {nil, of("iris", false, quota), Request{}, []string{"", "", ""}},
		"what runs at once":            {nil, of("iris", false, workload.Limit{Name: "p", Concurrent: 1}, quota), Request{}, []string{"", "concurrency_limited"}},
	} {
		for i, want := range tt.want {
			g, got := &Grant{}, ""
			refused := tt.first.Admit(g, Proofs{Keys: keys}, &tt.r, now)
			if refused == nil {
				refused = tt.behind.AdmitBehind(g, tt.first, Proofs{Keys: keys}, &tt.r, now)
			}
			if refused != nil {
				got = refused.Code
			}
			if got != want {
				t.Errorf("%s: request %d = %q, want %q", name, i, got, want)
			}
		}
	}
}

func TestAdmitAllocatesLittle(t *testing.T) { //nolint:paralleltest // it counts allocations
	keys, text := ring("alice", nil, time.Time{})
	spec := asking(workload.Auth{})
	spec.Networking.Limits = []workload.Limit{{Name: "a", Per: "caller", Concurrent: 10}, {Name: "b", Per: "caller", Rate: "1000000/s"}, {Name: "c", Per: "caller", Quota: "1000000/1d"}}
	p := New(spec, nil)
	r := Request{Path: []byte("/"), Authorization: []byte("Bearer " + text)}
	var g Grant
	now := time.Now()
	n := testing.AllocsPerRun(200, func() {
		now = now.Add(time.Millisecond)
		if refused := p.Admit(&g, Proofs{Keys: keys}, &r, now); refused != nil {
			t.Fatal(refused)
		}
		g.Done()
	})
	if n > 0 {
		t.Errorf("Admit allocates %g times, want never", n)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	const alice = "arn:aws:iam::123456789012:role/shop"
	sessions := func(token []byte) (Session, bool) {
		return Session{Identity: alice, Label: "alice", APIs: []string{"iris"}, Expires: now.Add(time.Minute)}, string(token) == "cxs1.good"
	}
	keys, text := ring("bob", nil, time.Time{})
	of := func(api string, accept ...string) *Policy {
		return New(&workload.Spec{Name: api, Networking: &workload.Networking{Auth: &workload.Auth{Accept: accept}}}, nil)
	}
	for name, tt := range map[string]struct {
		policy *Policy
		token  string
		at     time.Duration
		code   string
		caller string
	}{
		"a session":                     {of("iris", "iam"), "cxs1.good", 0, "", alice},
		"beside keys":                   {of("iris", "keys", "iam"), "cxs1.good", 0, "", alice},
		"a key beside sessions":         {of("iris", "keys", "iam"), text, 0, "", "bob"},
		"one that is none":              {of("iris", "iam"), "cxs1.bad", 0, "session_unknown", ""},
		"one that has expired":          {of("iris", "iam"), "cxs1.good", time.Minute, "session_expired", ""},
		"one of other APIs":             {of("lily", "iam"), "cxs1.good", 0, "not_allowed", ""},
		"a key where none is taken":     {of("iris", "iam"), text, 0, "key_malformed", ""},
		"a session where none is taken": {of("iris", "keys"), "cxs1.good", 0, "key_malformed", ""},
		"a session that manages":        {of("iris", "iam"), "cx1.1.e30.AAAA", 0, "key_malformed", ""},
	} {
		g := &Grant{}
		refused := tt.policy.Admit(g, Proofs{Keys: keys, Sessions: sessions}, &Request{Path: []byte("/"), Authorization: []byte("Bearer " + tt.token)}, now.Add(tt.at))
		got := ""
		if refused != nil {
			got = refused.Code
		}
		if got != tt.code || g.Caller.Name != tt.caller {
			t.Errorf("%s: %q as %q, want %q as %q", name, got, g.Caller.Name, tt.code, tt.caller)
		}
	}
	if refused := of("iris", "iam").Admit(&Grant{}, Proofs{Keys: keys}, &Request{Path: []byte("/"), Authorization: []byte("Bearer cxs1.good")}, now); refused == nil || refused.Code != "session_unknown" {
		t.Errorf("where nobody proves identities: %+v", refused)
	}
}
