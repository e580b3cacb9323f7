package local

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const procNetTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 100 0 0 10 0
   1: 00000000:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0
   2: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0000000000000000 20 4 30 10 -1
   3: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 79 1
   4: nonsense
   5: zz:1 00000000:0000 0A 0 0 0 0 0 x
`

func TestParseListeners(t *testing.T) {
	t.Parallel()
	got := ParseListeners(strings.NewReader(procNetTCP))
	want := []Listener{
		{netip.MustParseAddrPort("127.0.0.1:8080"), 4242},
		{netip.MustParseAddrPort("0.0.0.0:20001"), 77},
		{netip.MustParseAddrPort("[::1]:8081"), 79},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("ParseListeners differs (-want +got):\n%s", diff)
	}
}

func FuzzParseListeners(f *testing.F) {
	f.Add(procNetTCP)
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range ParseListeners(strings.NewReader(text)) {
			if !l.Address.IsValid() {
				t.Errorf("an invalid address from %q", text)
			}
		}
	})
}

func TestPortPool(t *testing.T) {
	t.Parallel()
	p := newPortPool()
	seen := map[int32]bool{}
	for range 200 {
		port, err := p.allocate()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < firstPort || port >= lastPort {
			t.Errorf("allocate() = %d, want another port from %d to %d", port, firstPort, lastPort)
		}
		seen[port] = true
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if port := int32(l.Addr().(*net.TCPAddr).Port); portIsFree(port) {
		t.Errorf("portIsFree(%d) = true, want false while somebody listens", port)
	}
}
