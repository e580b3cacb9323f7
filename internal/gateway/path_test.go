package gateway

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func snapshotOf(endpoints ...string) *snapshot {
	s := &snapshot{}
	for _, e := range endpoints {
		s = s.with(e, &route{name: e, endpoint: e})
	}
	return s
}

func TestLongestEndpointIsFound(t *testing.T) {
	t.Parallel()
	s := snapshotOf("/a", "/a/b", "/a.b", "/deep/er/still", "/v1.0/x-y_z")
	for _, tt := range []struct{ path, want, rest string }{
		{"/a", "/a", ""},
		{"/a/", "/a", "/"},
		{"/a/x", "/a", "/x"},
		{"/a/b", "/a/b", ""},
		{"/a/b/c", "/a/b", "/c"},
		{"/a/bc", "/a", "/bc"},
		{"/a.b/c", "/a.b", "/c"},
		{"/ab", "", ""},
		{"/", "", ""},
		{"//a", "", ""},
		{"/a//b", "/a", "//b"},
		{"/A", "", ""},
		{"/deep/er", "", ""},
		{"/deep/er/still/x", "/deep/er/still", "/x"},
		{"/%61/x", "/a", "/x"},
		{"/a/%62/c", "/a/b", "/c"},
		{"/a%2Fb/c", "", ""},
		{"/a%2fb", "", ""},
		{"/a/x%2fb", "/a", "/x%2fb"},
		{"/a/%2562", "/a", "/%2562"},
		{"/%25%36%31", "", ""},
		{"/a%00", "", ""},
		{"/v1%2E0/x%2Dy_z/q", "/v1.0/x-y_z", "/q"},
		{"/deep/%65r/still", "/deep/er/still", ""},
		{strings.Repeat("/a", 5000), "/a", strings.Repeat("/a", 4999)},
		{"/" + strings.Repeat("%61", 5000), "", ""},
	} {
		r, n := s.find([]byte(tt.path))
		got, rest := "", ""
		if r != nil {
			got, rest = r.name, tt.path[n:]
		}
		if got != tt.want || rest != tt.rest {
			t.Errorf("find(%.60q) = %q with %.60q left, want %q with %.60q", tt.path, got, rest, tt.want, tt.rest)
		}
	}
}

func TestDotSegmentsAreSeenInEverySpelling(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/a/../b": true, "/a/./b": true, "/..": true, "/.": true, "/a/..": true, "/%2e%2e/b": true, "/a/%2E./b": true,
		"/a/.%2e": true, "/%2e": true, "/a/...": false, "/a/..b": false, "/a/b..": false, "/.well-known/x": false, "/a%2f..%2fb": false,
		"/": false, "/a": false, "/a/%2": false,
	} {
		if got := climbs([]byte(path)); got != want {
			t.Errorf("climbs(%q) = %t, want %t", path, got, want)
		}
	}
}

func TestRoutesDoNotShareOneAnothersNames(t *testing.T) {
	t.Parallel()
	s := snapshotOf("/a", "/b")
	s = s.with("/a", &route{name: "/a", endpoint: "/c"}) // moves
	for path, want := range map[string]string{"/a": "", "/b": "/b", "/c": "/a"} {
		r, _ := s.find([]byte(path))
		if (r == nil) != (want == "") || r != nil && r.name != want {
			t.Errorf("find(%s) = %v, want %q", path, r, want)
		}
	}
	if s = s.with("/a", nil); len(s.routes) != 1 || s.depth != 1 {
		t.Errorf("after deleting, %d routes of depth %d are left, want 1 and 1", len(s.routes), s.depth)
	}
}

// FuzzPath holds find against what net/url says that a path means.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/a/b", "/a%2Fb", "/%61//x", "/a/../b", "/a/%2e%2e/b", "/a\\..\\b", "/a;b=c/d", "/a/b/c?d"} {
		f.Add(p)
	}
	endpoints := []string{"/a", "/a/b", "/b", "/a.b", "/c/d/e", "/c"}
	s := snapshotOf(endpoints...)
	f.Fuzz(func(t *testing.T, path string) {
		if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			return // the relay refuses it, or cuts it
		}
		// The oracle: segments, each decoded by itself; an endpoint takes the path if
		// its segments are the first ones.
		segments := strings.Split(path, "/")
		for i, seg := range segments {
			var err error
			if segments[i], err = url.PathUnescape(seg); err != nil {
				return
			}
		}
		want := ""
		for _, e := range endpoints {
			es := strings.Split(e, "/")
			if len(e) > len(want) && len(es) <= len(segments) && fmt.Sprintf("%q", es) == fmt.Sprintf("%q", segments[:len(es)]) {
				want = e
			}
		}
		r, n := s.find([]byte(path))
		got := ""
		if r != nil {
			got = r.name
			if plain, err := url.PathUnescape(path[:n]); err != nil || plain != got || n < len(path) && path[n] != '/' {
				t.Errorf("find(%q) took %q for %q", path, path[:n], got)
			}
		}
		if got != want {
			t.Errorf("find(%q) = %q, want %q", path, got, want)
		}
		climbing := false
		for _, seg := range segments[1:] {
			climbing = climbing || seg == "." || seg == ".."
		}
		if got := climbs([]byte(path)); got != climbing {
			t.Errorf("climbs(%q) = %t, want %t", path, got, climbing)
		}
	})
}

func BenchmarkFindAmongMany(b *testing.B) {
	for _, n := range []int{1, 1000} {
		s := &snapshot{routes: map[string]*route{}, depth: 1}
		for i := range n {
			e := fmt.Sprintf("/api-%d", i)
			s.routes[e] = &route{name: e}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, _ := s.find([]byte("/api-0/predict")); r == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// Two that claim one endpoint: the older has it, and the other when that is gone or
// moves away.
func TestAnEndpointIsTheOldersClaim(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	claim := func(name, endpoint string, created time.Time) *route {
		return &route{name: name, endpoint: endpoint, created: created}
	}
	at := func(s *snapshot, endpoint string) string {
		if r := s.routes[endpoint]; r != nil {
			return r.name
		}
		return ""
	}
	owner, thief := claim("owner", "/iris", day(1)), claim("thief", "/iris", day(2))
	for _, order := range [][]*route{{owner, thief}, {thief, owner}} {
		s := &snapshot{}
		for _, r := range order {
			s = s.with(r.name, r)
		}
		if got := at(s, "/iris"); got != "owner" {
			t.Errorf("the endpoint is %q's, want the owner's", got)
		}
		if got := at(s.with("thief", nil), "/iris"); got != "owner" {
			t.Errorf("without the thief the endpoint is %q's, want the owner's", got)
		}
		if got := at(s.with("owner", nil), "/iris"); got != "thief" {
			t.Errorf("without the owner the endpoint is %q's, want the thief's", got)
		}
		moved := s.with("owner", claim("owner", "/rose", day(1)))
		if at(moved, "/iris") != "thief" || at(moved, "/rose") != "owner" || moved.depth != 1 {
			t.Errorf("after the owner moved the endpoints are %q's and %q's, want the thief's and the owner's", at(moved, "/iris"), at(moved, "/rose"))
		}
	}
	same := (&snapshot{}).with("b", claim("b", "/iris", day(1))).with("a", claim("a", "/iris", day(1)))
	if got := at(same, "/iris"); got != "a" {
		t.Errorf("of two of one moment the endpoint is %q's, want a's: every gateway has to come to the same", got)
	}
}
