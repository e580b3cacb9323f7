package gateway

import (
	"bytes"

	"cortex.dev/cortex/internal/workload"
)

// find returns the route with the longest endpoint that target lies under, and
// how many bytes of target that endpoint takes. Segments are compared decoded, so
// /%61/x lies under /a; an encoded slash separates nothing, so /a%2Fb does not lie
// under /a/b. The work depends on the depth of the deepest endpoint, not on how
// many there are.
func (s *snapshot) find(path []byte) (r *route, n int) {
	if r, n = s.longest(path); r != nil {
		return r, n
	}
	return s.ofJobs(path)
}

// ofJobs finds a BatchAPI or TaskAPI by the path that it had in 0.42 whatever its endpoint.
func (s *snapshot) ofJobs(path []byte) (*route, int) {
	for prefix, kind := range oldPaths {
		if name, ok := bytes.CutPrefix(path, []byte(prefix)); ok {
			if r := s.claims[string(bytes.TrimSuffix(name, []byte("/")))]; r != nil && r.kind == kind && r.jobs() {
				return r, len(prefix) + len(r.name)
			}
		}
	}
	return nil, 0
}

var oldPaths = map[string]workload.Kind{"/batch/": workload.Batch, "/tasks/": workload.Task}

func (s *snapshot) longest(path []byte) (r *route, n int) {
	if bytes.IndexByte(path, '%') >= 0 {
		return s.findDecoded(path)
	}
	depth := 0
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if found := s.routes[string(path[:i])]; found != nil {
			r, n = found, i
		}
		if depth++; depth > s.depth {
			break
		}
	}
	return r, n
}

// findDecoded is find for a path with escapes.
func (s *snapshot) findDecoded(path []byte) (r *route, n int) {
	var scratch [256]byte
	plain := append(scratch[:0], '/')
	depth := 0
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			c := path[i]
			if c == '%' && i+2 < len(path) {
				if d := unescape(path[i+1], path[i+2]); d != '/' && d != '%' {
					c = d
					i += 2
				}
			}
			plain = append(plain, c)
			continue
		}
		if found := s.routes[string(plain)]; found != nil {
			r, n = found, i
		}
		if depth++; depth > s.depth {
			break
		}
		plain = append(plain, '/')
	}
	return r, n
}

// unescape is the byte that %hl stands for; the relay refuses other escapes.
func unescape(h, l byte) byte { return digit(h)<<4 | digit(l) }

func digit(c byte) byte {
	if c >= 'A' {
		return c&^0x20 - 'A' + 10
	}
	return c - '0'
}

// climbs reports whether a segment of path is . or .., escaped or not. No client
// sends one by itself, and what stands in front of a gateway may read such a path
// differently than what stands behind it.
func climbs(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dots, j := 0, i+1
		for j < len(path) {
			if path[j] == '.' {
				j++
			} else if path[j] == '%' && j+2 < len(path) && path[j+1] == '2' && path[j+2]|0x20 == 'e' {
				j += 3
			} else {
				break
			}
			dots++
		}
		if (dots == 1 || dots == 2) && (j == len(path) || path[j] == '/') {
			return true
		}
	}
	return false
}

// pathOf cuts the query off a target.
func pathOf(target []byte) []byte {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i]
	}
	return target
}
