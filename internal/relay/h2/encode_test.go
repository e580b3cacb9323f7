package h2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// TestEncoder holds what is written, over many heads and changes of the table's size,
// against what golang.org/x/net reads.
func TestEncoder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		var e encoder
		e.init()
		var got []string
		dec := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { got = append(got, f.Name+": "+f.Value) })
		for round := range 300 {
			if random.IntN(20) == 0 {
				for range 1 + random.IntN(2) {
					e.limit(uint32(random.IntN(6000)))
				}
			}
			server := random.IntN(2) == 0
			text, want := "GET /a HTTP/1.1\r\nHost: a\r\n", []string{":method: GET", ":scheme: http", ":path: /a", ":authority: a"}
			if server {
				status := []string{"200", "404", "418"}[random.IntN(3)]
				text, want = "HTTP/1.1 "+status+" OK\r\n", []string{":status: " + status}
			}
			for range random.IntN(20) {
				name := []string{"X-Request-ID", "Traceparent", "Content-Type", "a", "Content-Length"}[random.IntN(5)]
				value := strings.Repeat("v", random.IntN(1<<random.IntN(10))) + fmt.Sprint(random.IntN(5))
				text += name + ": " + value + "\r\n"
				want = append(want, strings.ToLower(name)+": "+value)
			}
			text += "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nbody"
			if rest := e.head([]byte(text), server); string(rest) != "body" {
				t.Fatalf("after the head comes %q", rest)
			}
			check := func(want []string) {
				got = nil
				if _, err := dec.Write(e.to); err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
				if err := dec.Close(); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, round %d: %q, want %q", seed, round, got, want)
				}
			}
			check(want)
			if round%7 == 0 {
				if random.IntN(3) == 0 {
					e.limit(uint32(random.IntN(6000)))
				}
				e.trailer([]byte("End: 1\r\n"))
				check([]string{"end: 1"})
			}
			if len(e.seen) > maxSeen || len(e.lines) > maxSeen+tableSize/entrySize || e.size > tableSize {
				t.Fatalf("it remembers %d and %d lines", len(e.seen), len(e.lines))
			}
		}
	}
}
