package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/bench/row"
)

// The stream of events of a model that says twenty tokens a second. Each says when it was
// sent, in nanoseconds.
const (
	eventEvery = 50 * time.Millisecond
	eventBegin = `data: {"created":`
	eventEnd   = `,"choices":[{"delta":{"content":" token"}}]}` + "\n\n"
	eventSize  = len(eventBegin) + digits + len(eventEnd)
	digits     = 19
)

// served calls serve with each connection that ln accepts, until ctx ends.
func served(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	for {
		c, err := ln.Accept()
		if err != nil {
			return nil // closed: that is how it ends
		}
		go func() { // ends with its connection, at the latest with the process
			defer c.Close()
			serve(c)
		}()
	}
}

// serveEvents answers every request with events that have no end, or a short answer where
// the connection is to be closed: that one only asks whether somebody is there.
func serveEvents(ctx context.Context, ln net.Listener) error {
	return served(ctx, ln, func(c net.Conn) {
		for in := bufio.NewReader(c); ; {
			head, err := readHead(in)
			if err != nil {
				return
			}
			if bytes.Contains(head, []byte("/quiet")) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n") // likewise
				_, _ = in.ReadByte()                                                                                                                     // until the other end closes
				return
			}
			if !bytes.Contains(head, []byte("/events")) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") // who has left is told by the next read
				continue
			}
			_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for err == nil {
				time.Sleep(eventEvery)
				_, err = fmt.Fprintf(c, "%x\r\n%s%d%s\r\n", eventSize, eventBegin, time.Now().UnixNano(), eventEnd)
			}
			return
		}
	})
}

// restEvents opens streams of events over HTTP/1.1, hears one on each and leaves them alone.
func restEvents(ctx context.Context, addr string, n int) error {
	for i := range n {
		// From several addresses: one may have a quarter of what a gateway takes.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%8))}}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /api/quiet HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // of a connection that is open
		for in := bufio.NewReaderSize(c, 512); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.HasPrefix(line, "data:") {
				break
			}
		}
	}
	return restUntil(ctx)
}

// hear opens n streams of events, and prints how many events came in a period, and within
// how many microseconds half of them came and 99 of 100.
func hear(ctx context.Context, addr string, n int, period time.Duration) error {
	var mu sync.Mutex
	var delays []time.Duration
	var failed atomic.Bool
	var hearing sync.WaitGroup
	begin := time.Now().Add(time.Second) // until then they are opened
	over := begin.Add(period)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c, "GET /api/events HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return err
		}
		_ = c.SetReadDeadline(over) // of a connection that is open
		hearing.Go(func() {
			defer c.Close()
			mine, err := delaysOf(c, begin)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				failed.Store(true)
			}
			mu.Lock()
			defer mu.Unlock()
			delays = append(delays, mine...)
		})
	}
	hearing.Wait()
	if failed.Load() || len(delays) == 0 {
		return errors.New("a stream broke off, or had no events")
	}
	fmt.Println(len(delays), row.Quantile(delays, 0.5).Microseconds(), row.Quantile(delays, 0.99).Microseconds())
	return nil
}

// delaysOf returns how late each event was that came after begin, until c ends.
func delaysOf(c net.Conn, begin time.Time) (delays []time.Duration, err error) {
	b, have := make([]byte, 8<<10), 0
	for {
		n, err := c.Read(b[have:])
		if err != nil {
			return delays, err
		}
		now := time.Now()
		rest := b[:have+n]
		for {
			_, after, found := bytes.Cut(rest, []byte(eventBegin))
			if !found || len(after) < digits {
				break
			}
			sent, err := strconv.ParseInt(string(after[:digits]), 10, 64)
			if err != nil {
				return delays, err
			}
			if now.After(begin) {
				delays = append(delays, now.Sub(time.Unix(0, sent)))
			}
			rest = after[digits:]
		}
		have = copy(b, rest[max(0, len(rest)-len(eventBegin)-digits):]) // the beginning of one, perhaps
	}
}

// largeBody is what large answers and uploads have.
const largeBody = 1 << 20

// serveBodies answers a request without a body with a large one, and one with a body, when
// all of it is here, with a small one.
func serveBodies(ctx context.Context, ln net.Listener) error {
	large := append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", largeBody), make([]byte, largeBody)...)
	return served(ctx, ln, func(c net.Conn) {
		for in := bufio.NewReaderSize(c, 256<<10); ; {
			head, err := readHead(in)
			if err != nil {
				return
			}
			length := lengthIn(head)
			if length == 0 {
				if _, err := c.Write(large); err != nil {
					return
				}
				continue
			}
			for length > 0 {
				n, err := in.Discard(min(length, 256<<10))
				if length -= n; err != nil {
					return
				}
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
}

// readHead reads a head of HTTP/1.1, in lower case.
func readHead(in *bufio.Reader) ([]byte, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		head = append(head, bytes.ToLower(line)...)
	}
	return head, nil
}

// lengthIn returns the Content-Length of a head; 0: it has none.
func lengthIn(head []byte) int {
	_, after, _ := bytes.Cut(head, []byte("\r\ncontent-length:"))
	value, _, _ := bytes.Cut(after, []byte("\r\n"))
	n, _ := strconv.Atoi(string(bytes.TrimSpace(value))) // 0 is what none is
	return n
}
