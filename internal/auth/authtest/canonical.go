package authtest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest is the form of a request that both ends arrive at.
func canonicalRequest(r *http.Request, body []byte, signed []string, want rules) (string, error) {
	wire, query := target(r)
	canonicalQuery, err := canonicalQuery(query)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	path, payload := canonicalPath(wire, want.rawPath), hexSum(body)
	if want.s3 {
		path, payload = cmp.Or(wire, "/"), s3Payload(r.Header, payload)
	}
	for _, s := range []string{r.Method, path, canonicalQuery} {
		b.WriteString(s + "\n")
	}
	for _, name := range signed {
		values, ok := headerValues(r, name)
		if !ok {
			return "", refuse(ReasonSignature, name+" is signed, but not there")
		}
		for i, v := range values {
			values[i] = fold(v)
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String(), nil
}

// s3Payload is what stands for the payload in a request to S3, which a client may leave
// out of its signature when the connection is protected.
func s3Payload(h http.Header, hash string) string {
	switch said := h.Get("X-Amz-Content-Sha256"); said {
	case "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		return said
	}
	return hash
}

// target returns path and query as they are on the wire. What net/http has parsed
// of a received request may differ from it.
func target(r *http.Request) (path, query string) {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, query, _ = strings.Cut(r.RequestURI, "?")
		return path, query
	}
	return r.URL.EscapedPath(), r.URL.RawQuery
}

// headerValues returns a copy of the values of a header, looking also where
// net/http keeps the two that are not in its map.
func headerValues(r *http.Request, name string) ([]string, bool) {
	switch values := r.Header.Values(name); {
	case name == "host" && r.Host != "":
		return []string{r.Host}, true
	case name == "host" && r.URL != nil && r.URL.Host != "":
		return []string{r.URL.Host}, true
	case len(values) > 0:
		return slices.Clone(values), true
	case name == "content-length" && r.ContentLength >= 0:
		return []string{strconv.FormatInt(r.ContentLength, 10)}, true
	}
	return nil, false
}

// fold trims a value and makes one space of several.
func fold(v string) string {
	v = strings.Trim(v, " \t")
	for strings.Contains(v, "  ") {
		v = strings.ReplaceAll(v, "  ", " ")
	}
	return v
}

// canonicalPath encodes a path that is encoded already, which is the rule of every
// service but S3, and resolves its dots and double slashes unless raw.
func canonicalPath(path string, raw bool) string {
	if path == "" {
		return "/"
	}
	if raw {
		return uriEncode(path, true)
	}
	var kept []string
	segments := strings.Split(path, "/")
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	last := segments[len(segments)-1]
	clean := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && (last == "" || last == "." || last == "..") {
		clean += "/" // what ends in a folder does so afterwards
	}
	return uriEncode(clean, true)
}

// canonicalQuery sorts parameters by their encoded names, then by their values.
func canonicalQuery(query string) (string, error) {
	type parameter struct{ name, value string }
	var all []parameter
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, ok1 := uriDecode(name)
		v, ok2 := uriDecode(value)
		if !ok1 || !ok2 {
			return "", refuse(ReasonMalformed, "the query string cannot be decoded")
		}
		all = append(all, parameter{uriEncode(n, false), uriEncode(v, false)})
	}
	slices.SortFunc(all, func(a, b parameter) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	parts := make([]string, len(all))
	for i, p := range all {
		parts[i] = p.name + "=" + p.value
	}
	return strings.Join(parts, "&"), nil
}

const upperHex = "0123456789ABCDEF"

// uriEncode encodes every byte but the unreserved ones of RFC 3986 (and slashes).
func uriEncode(s string, keepSlash bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.WriteString("%" + string(upperHex[c>>4]) + string(upperHex[c&15]))
		}
	}
	return b.String()
}

// uriDecode decodes a name or a value of a query string, where + is a space.
func uriDecode(s string) (string, bool) {
	var b []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%':
			if i+2 >= len(s) {
				return "", false
			}
			c, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b = append(b, c...)
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}

// signingKey derives the key of a day, a region and a service from a secret.
func signingKey(secret string, scope []string) []byte {
	key := []byte("AWS4" + secret)
	for _, s := range scope {
		key = mac(key, s)
	}
	return key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // a hash never fails
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
