package awsrest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Keys are what requests are signed with.
type Keys struct {
	ID, Secret string
	Token      string    // of keys that end; empty: they do not
	Until      time.Time // when they end; zero: never
}

// Times of a signature, and the first word of its header.
const (
	signTime  = "20060102T150405Z"
	signDay   = "20060102"
	algorithm = "AWS4-HMAC-SHA256"
)

// sign gives a request the signature of version 4. Its URL has its path and query encoded
// as AWS wants them (escape, and Values sorted), and hash is of its body.
func sign(r *http.Request, k Keys, region, service, hash string, now time.Time) {
	now = now.UTC()
	r.Header.Set("X-Amz-Date", now.Format(signTime))
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	if k.Token != "" {
		r.Header.Set("X-Amz-Security-Token", k.Token)
	}
	names, headers := signedHeaders(r)
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical := strings.Join([]string{r.Method, path, r.URL.RawQuery, headers, names, hash}, "\n")
	scope := strings.Join([]string{now.Format(signDay), region, service, "aws4_request"}, "/")
	text := strings.Join([]string{algorithm, now.Format(signTime), scope, digest([]byte(canonical))}, "\n")
	key := []byte("AWS4" + k.Secret)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+k.ID+"/"+scope+", SignedHeaders="+names+", Signature="+hex.EncodeToString(mac(key, text)))
}

// signedHeaders are all that AWS wants signed, and those that say what is done.
func signedHeaders(r *http.Request) (names, headers string) {
	values := map[string]string{"host": r.URL.Host}
	for name, v := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") || name == "content-type" || strings.HasPrefix(name, "if-") || name == "range" {
			values[name] = strings.TrimSpace(strings.Join(v, ","))
		}
	}
	var all []string
	for name := range values {
		all = append(all, name)
	}
	slices.Sort(all)
	var text strings.Builder
	for _, name := range all {
		text.WriteString(name + ":" + values[name] + "\n")
	}
	return strings.Join(all, ";"), text.String()
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// escape encodes a text as AWS has it in a path or a query; a path keeps its slashes.
func escape(text string, path bool) string {
	const hexadecimal = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexadecimal[c>>4], hexadecimal[c&15]})
		}
	}
	return b.String()
}

// query is a query as it is signed.
func query(values map[string]string) string {
	var all []string
	for name, value := range values {
		all = append(all, escape(name, false)+"="+escape(value, false))
	}
	slices.Sort(all)
	return strings.Join(all, "&")
}
