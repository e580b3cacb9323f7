package operatorserver

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// lineOf is a listener that hands out connections which claim to come from
// somewhere, one after the other.
type lineOf struct {
	net.Listener
	from   []string
	closed []string
}

type claimed struct {
	net.Conn
	from *net.TCPAddr
	line *lineOf
}

func (c *claimed) RemoteAddr() net.Addr { return c.from }

func (c *claimed) Close() error {
	c.line.closed = append(c.line.closed, c.from.String())
	return nil
}

func (l *lineOf) Accept() (net.Conn, error) {
	if len(l.from) == 0 {
		return nil, net.ErrClosed
	}
	next := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.from[0]))
	l.from = l.from[1:]
	return &claimed{from: next, line: l}, nil
}

func accepted(ln net.Listener) (all []net.Conn) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return all
		}
		all = append(all, conn)
	}
}

func TestAllowOnly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		allowed []string
		from    string
		want    bool
	}{
		{"no list", nil, "203.0.113.9:1", true},
		{"in the network", []string{"10.0.0.0/8"}, "10.200.0.1:1", true},
		{"in the second network", []string{"10.0.0.0/8", "192.0.2.0/24"}, "192.0.2.255:1", true},
		{"beside the network", []string{"192.0.2.0/24"}, "192.0.3.0:1", false},
		{"IPv4 written as IPv6", []string{"10.0.0.0/8"}, "[::ffff:10.0.0.1]:1", true},
		{"IPv6", []string{"2001:db8::/32"}, "[2001:db8::1]:1", true},
		{"IPv6 and a list of IPv4", []string{"0.0.0.0/0"}, "[2001:db8::1]:1", false},
		{"link-local with a zone", []string{"fe80::/10"}, "[fe80::1%eth0]:1", true},
		{"one address", []string{"192.0.2.1/32"}, "192.0.2.1:1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line := &lineOf{from: []string{tt.from}}
			var allowed []netip.Prefix
			for _, n := range tt.allowed {
				allowed = append(allowed, netip.MustParsePrefix(n))
			}
			got := accepted(AllowOnly(line, allowed, slog.New(slog.DiscardHandler)))
			if (len(got) == 1) != tt.want || (len(line.closed) == 0) != tt.want {
				t.Errorf("%s from %v: accepted %d, closed %d, want accepted %v", tt.from, tt.allowed, len(got), len(line.closed), tt.want)
			}
		})
	}
}

// Nobody gets more than a share, those who hold too many are turned away at once,
// and what is closed can be opened again.
func TestBoundedConnections(t *testing.T) {
	t.Parallel()
	line := &lineOf{}
	for i := range MaxConnectionsPerAddress + 5 {
		line.from = append(line.from, fmt.Sprintf("192.0.2.1:%d", i+1))
	}
	line.from = append(line.from, "192.0.2.2:1")
	ln := bounded(line)
	got := accepted(ln)
	if len(got) != MaxConnectionsPerAddress+1 || len(line.closed) != 5 {
		t.Fatalf("accepted %d and closed %d, want %d and 5", len(got), len(line.closed), MaxConnectionsPerAddress+1)
	}
	for range 2 { // closing twice frees one place
		got[0].Close()
	}
	line.from = []string{"192.0.2.1:9001", "192.0.2.1:9002"}
	if again := accepted(ln); len(again) != 1 {
		t.Errorf("after one was closed, accepted %d more, want 1", len(again))
	}

	line = &lineOf{}
	for i := range MaxConnections + 7 {
		line.from = append(line.from, fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255))
	}
	many := bounded(line)
	all := accepted(many)
	if len(all) != MaxConnections {
		t.Errorf("accepted %d from everywhere, want %d", len(all), MaxConnections)
	}
	for _, c := range all {
		c.Close()
	}
	if b := many.(*boundedListener); b.open != 0 || len(b.from) != 0 {
		t.Errorf("after all are closed, %d are open of %d addresses", b.open, len(b.from))
	}
}

// Behind one address there may be many people: whoever holds all its connections without
// saying anything loses the quietest of them to the next, and those in use stay.
func TestQuietConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	line := &lineOf{}
	for i := range MaxConnectionsPerAddress {
		line.from = append(line.from, fmt.Sprintf("192.0.2.1:%d", i+1))
	}
	ln := bounded(line)
	now := time.Unix(1_700_000_000, 0)
	ln.(*boundedListener).now = func() time.Time { return now }
	held := accepted(ln)
	now = now.Add(quiet - time.Second)
	line.from = []string{"192.0.2.1:9001"}
	if got := accepted(ln); len(got) != 0 {
		t.Errorf("%d were accepted while the others had been quiet for less than %s", len(got), quiet)
	}
	for i, c := range held {
		if i != 7 {
			c.(*boundedConn).said()
		}
	}
	line.closed = nil
	now = now.Add(time.Second)
	line.from = []string{"192.0.2.1:9002", "192.0.2.1:9003"}
	got := accepted(ln)
	if len(got) != 1 || !slices.Equal(line.closed, []string{"192.0.2.1:8", "192.0.2.1:9003"}) {
		t.Errorf("accepted %d and closed %v, want the eighth to end for one, and the next to be refused", len(got), line.closed)
	}
}
