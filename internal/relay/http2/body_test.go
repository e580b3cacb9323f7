package http2

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"cortex.dev/cortex/internal/relay"
)

// sending is a request whose body is written by the test, and its Body.
func sending(t *testing.T) (*Body, *io.PipeWriter) {
	t.Helper()
	out, in := io.Pipe()
	t.Cleanup(func() { in.Close() })
	return NewBody(request(t, out, -1)), in
}

func request(t *testing.T, body io.Reader, length int64) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://server", body)
	if err != nil {
		t.Fatal(err)
	}
	if r.ContentLength = length; body == nil {
		r.Body = nil
	}
	return r
}

// next is the next attempt's body.
func next(b *Body) io.ReadCloser {
	var out http.Request
	b.Attempt(&out)
	return out.Body
}

// part is what one Read returns.
type part struct {
	text string
	err  error
}

func read(r io.Reader, n int) part {
	p := make([]byte, n)
	n, err := r.Read(p)
	return part{string(p[:n]), err}
}

// reading is read in a goroutine of its own.
func reading(r io.Reader) <-chan part {
	got := make(chan part, 1)
	go func() { got <- read(r, 100) }()
	return got
}

func wantPart(t *testing.T, who string, got, want part) {
	t.Helper()
	if got.text != want.text || !errors.Is(got.err, want.err) {
		t.Errorf("%s read %q, %v; want %q, %v", who, got.text, got.err, want.text, want.err)
	}
}

func TestABodyIsSentAgainFromItsBeginning(t *testing.T) {
	t.Parallel()
	const text = "a body of several parts"
	b := NewBody(request(t, strings.NewReader(text), int64(len(text))))
	for _, n := range []int{0, 6, len(text)} {
		a := next(b)
		if got, err := io.ReadAll(io.LimitReader(a, int64(n))); err != nil || string(got) != text[:n] {
			t.Errorf("read %q, %v; want %q", got, err, text[:n])
		}
		if !b.Rewind() {
			t.Fatalf("Rewind() = false after %d bytes, want true", n)
		}
		wantPart(t, "an attempt that is over", read(a, 100), part{"", errOver})
	}
	if got, err := io.ReadAll(next(b)); err != nil || string(got) != text {
		t.Errorf("the last attempt read %q, %v; want all of it", got, err)
	}
}

// net/http reads in a goroutine that outlives the answer, and cannot be called back.
func TestWhatComesLateIsForTheNextAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, client := sending(t)
		one := next(b)
		first := reading(one)
		client.Write([]byte("hello "))
		wantPart(t, "the first attempt", <-first, part{"hello ", nil})
		late := reading(one)
		synctest.Wait() // it waits for the client
		if !b.Rewind() {
			t.Fatal("Rewind() = false, want true")
		}
		two := next(b)
		wantPart(t, "the second attempt", read(two, 100), part{"hello ", nil}) // at once
		more := reading(two)
		synctest.Wait() // it waits for what the first one reads
		client.Write([]byte("world"))
		wantPart(t, "the first attempt", <-late, part{"", errOver})
		wantPart(t, "the second attempt", <-more, part{"world", nil})
		more = reading(two)
		synctest.Wait() // it reads by itself
		client.Close()
		wantPart(t, "the second attempt", <-more, part{"", io.EOF})
	})
}

// The end may come late, too, and then to an attempt that waits for it.
func TestTheEndMayComeLate(t *testing.T) {
	t.Parallel()
	gone := errors.New("the client has gone")
	for _, how := range []error{io.EOF, gone} {
		synctest.Test(t, func(t *testing.T) {
			b, client := sending(t)
			late := reading(next(b))
			synctest.Wait()
			b.Rewind()
			dropped := reading(next(b)) // an attempt that ends while it waits
			synctest.Wait()
			b.Rewind()
			wantPart(t, "the attempt between", <-dropped, part{"", errOver})
			last := next(b)
			got := reading(last)
			synctest.Wait()
			client.CloseWithError(how)
			wantPart(t, "the first attempt", <-late, part{"", errOver})
			wantPart(t, "the last attempt", <-got, part{"", how})
			wantPart(t, "the last attempt, again,", read(last, 100), part{"", how})
		})
	}
}

func TestLongBodiesAreLetGo(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", relay.KeptBytes+1)
	for name, tt := range map[string]struct {
		length int64 // as it was announced
		read   int
		whole  bool
	}{
		"up to the bound":        {-1, relay.KeptBytes, true},
		"past the bound":         {-1, relay.KeptBytes + 1, false},
		"announced":              {relay.KeptBytes + 1, 1, false},
		"announced and not read": {relay.KeptBytes + 1, 0, true},
		"announced as short":     {relay.KeptBytes, relay.KeptBytes, true},
	} {
		b := NewBody(request(t, io.MultiReader(strings.NewReader(text)), tt.length))
		a := next(b)
		if _, err := io.CopyN(io.Discard, a, int64(tt.read)); err != nil {
			t.Fatal(err)
		}
		if kept := b.Kept() > 0; kept != (tt.whole && tt.read > 0) {
			t.Errorf("%s: %d bytes are kept", name, b.Kept())
		}
		if got := b.Rewind(); got != tt.whole {
			t.Errorf("%s: Rewind() = %v, want %v", name, got, tt.whole)
		}
		want := len(text)
		if tt.whole {
			a = next(b)
		} else { // the attempt goes on
			want -= tt.read
		}
		if got, err := io.ReadAll(a); err != nil || string(got) != text[:want] {
			t.Errorf("%s: read %d more bytes, %v; want %d", name, len(got), err, want)
		}
		if b.Kept() > 0 {
			t.Errorf("%s: %d bytes are kept of a long body that was sent", name, b.Kept())
		}
	}
}

func TestNothingIsKeptOnceLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, client := sending(t)
		one := next(b)
		first := reading(one)
		client.Write([]byte("hello"))
		<-first
		late := reading(one)
		synctest.Wait()
		b.Rewind()
		two := next(b)
		wantPart(t, "the second attempt", read(two, 2), part{"he", nil})
		b.LetGo() // it is answered
		wantPart(t, "the second attempt", read(two, 2), part{"ll", nil})
		if b.Rewind() {
			t.Error("Rewind() = true without the beginning")
		}
		client.Write([]byte(" world"))
		wantPart(t, "the first attempt", <-late, part{"", errOver})
		for _, want := range []string{"o", " world", "!"} {
			if want == "!" {
				if b.kept != nil {
					t.Errorf("memory is kept for %q, which was read", b.kept)
				}
				go client.Write([]byte(want))
			}
			text := ""
			for len(text) < len(want) {
				got := read(two, len(want)-len(text))
				if text += got.text; got.err != nil {
					t.Fatalf("the second attempt read %q, %v; want %q", text, got.err, want)
				}
			}
			if text != want {
				t.Errorf("the second attempt read %q, want %q", text, want)
			}
		}
		next := NewBody(request(t, strings.NewReader("x"), 1))
		next.LetGo()
		if !next.Rewind() {
			t.Error("Rewind() = false of a body of which nothing was read, want true")
		}
	})
}

// What comes late is the next attempt's even where it is too much to be kept.
func TestWhatComesLateMayBeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("x", relay.KeptBytes) + "end"
		b, client := sending(t)
		one := next(b)
		late := make(chan part)
		go func() { late <- read(one, len(text)) }()
		synctest.Wait()
		b.Rewind()
		two := next(b)
		client.Write([]byte(text))
		wantPart(t, "the first attempt", <-late, part{"", errOver})
		wantPart(t, "the second attempt", read(two, 1), part{"x", nil})
		if b.Rewind() {
			t.Error("Rewind() = true for more than is kept, want false")
		}
		client.Close()
		if got, err := io.ReadAll(two); err != nil || string(got) != text[1:] {
			t.Errorf("the second attempt read %d bytes, %v; want the other %d", len(got), err, len(text)-1)
		}
	})
}

// net/http tells the values of a trailer once the body has ended, to whoever read that;
// it tells their names before.
func TestEachAttemptHasTheTrailer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out, client := io.Pipe()
		r := request(t, out, -1)
		r.Trailer = http.Header{"X-Check": nil}
		b := NewBody(r)
		var attempts [2]http.Request
		b.Attempt(&attempts[0])
		late := reading(attempts[0].Body)
		synctest.Wait()
		b.Rewind()
		b.Attempt(&attempts[1])
		if names := attempts[1].Trailer; len(names) != 1 || names["X-Check"] != nil {
			t.Errorf("before the end the trailer is %v, want its name", names)
		}
		client.Write([]byte("hello"))
		<-late
		wantPart(t, "the second attempt", read(attempts[1].Body, 100), part{"hello", nil})
		r.Trailer.Set("X-Check", "42")
		client.Close()
		wantPart(t, "the second attempt", read(attempts[1].Body, 100), part{"", io.EOF})
		if got := attempts[1].Trailer.Get("X-Check"); got != "42" {
			t.Errorf("the trailer says %q, want 42", got)
		}
		if got := attempts[0].Trailer.Get("X-Check"); got != "" {
			t.Errorf("the trailer of the attempt that is over says %q", got)
		}
		b.Rewind()
		third := http.Request{}
		b.Attempt(&third) // reads what is kept only
		if got, err := io.ReadAll(third.Body); err != nil || string(got) != "hello" || third.Trailer.Get("X-Check") != "42" {
			t.Errorf("the third attempt read %q, %v and %v; want all of it and the trailer", got, err, third.Trailer)
		}
	})
}

// closable tells when it is closed.
type closable struct {
	io.Reader
	closed bool
}

func (c *closable) Close() error { c.closed = true; return nil }

// net/http closes the body when a connection turns out to be of no use, and sends the
// same one by the next.
func TestAttemptsCanBeClosedAndRead(t *testing.T) {
	t.Parallel()
	from := &closable{Reader: strings.NewReader("hello")}
	a := next(NewBody(request(t, from, 5)))
	if err := a.Close(); err != nil || from.closed {
		t.Errorf("Close() = %v, and the request's own body is closed: %v; want it open", err, from.closed)
	}
	if got, err := io.ReadAll(a); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v after Close, want all of it", got, err)
	}
}

func TestARequestWithoutBody(t *testing.T) {
	t.Parallel()
	for _, body := range []io.Reader{nil, http.NoBody} {
		b := NewBody(request(t, body, 0))
		out := http.Request{Body: http.NoBody}
		b.Attempt(&out)
		b.LetGo()
		if b != nil || out.Body != http.NoBody || !b.Rewind() || b.Kept() != 0 {
			t.Errorf("NewBody(%v) = %v, want none, which is whole", body, b)
		}
	}
}

// TestTakeoversLoseNothing: whenever attempts end, and in whatever pieces the body
// comes and is read, the last one has all of it, once and in order.
func TestTakeoversLoseNothing(t *testing.T) {
	t.Parallel()
	for range 300 {
		seed := rand.Uint64()
		random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
		choose := random(0)
		text := make([]byte, choose.IntN(2*relay.KeptBytes))
		for i := range text {
			text[i] = byte(choose.Uint32())
		}
		b, client := sending(t)
		go func() {
			pieces := random(1)
			for rest := text; len(rest) > 0; {
				n := min(len(rest), 1+pieces.IntN(1<<pieces.IntN(16)))
				client.Write(rest[:n])
				rest = rest[n:]
			}
			client.Close()
		}()
		var all sync.WaitGroup
		attempt := func(n uint64) *result {
			got, sizes, from := new(result), random(n), next(b)
			all.Go(func() {
				for got.err == nil {
					p := make([]byte, 1+sizes.IntN(1<<sizes.IntN(16)))
					var n int
					n, got.err = from.Read(p)
					got.text = append(got.text, p[:n]...)
				}
				if !bytes.HasPrefix(text, got.text) {
					t.Errorf("an attempt read what was not sent, or not in order (seed %d)", seed)
				}
			})
			return got
		}
		last := attempt(2)
		for n := range uint64(choose.IntN(4)) {
			for range choose.IntN(200) {
				runtime.Gosched()
			}
			if b.Rewind() {
				last = attempt(3 + n) // whether the one before has noticed or not
			} else if choose.IntN(2) == 0 {
				b.LetGo()
			}
		}
		all.Wait()
		if !errors.Is(last.err, io.EOF) || !bytes.Equal(last.text, text) {
			t.Fatalf("the last attempt read %d bytes, %v; want all %d (seed %d)", len(last.text), last.err, len(text), seed)
		}
	}
}

// result is what an attempt read in all.
type result struct {
	text []byte
	err  error
}
