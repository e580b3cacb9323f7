package local

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports for processes are taken from below the range from which systems give out
// ports on their own (32768 and up on Linux, 49152 on darwin), so that an outgoing
// connection of some other program cannot take one between our look and the
// container's bind.
const (
	firstPort = 20000
	lastPort  = 32000
)

// portPool gives out loopback ports, none twice until it is released.
type portPool struct {
	mu   sync.Mutex
	used map[int32]bool
}

func newPortPool() *portPool { return &portPool{used: map[int32]bool{}} }

func (p *portPool) allocate() (int32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const n = lastPort - firstPort
	start := rand.IntN(n)
	for i := range n {
		port := int32(firstPort + (start+i)%n)
		if !p.used[port] && portIsFree(port) {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port between 20000 and 32000 is left on this machine")
}

func (p *portPool) release(port int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

// portIsFree reports whether a server could listen on port now, on loopback and
// on every address.
func portIsFree(port int32) bool {
	for _, host := range []string{"127.0.0.1", ""} {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(host), Port: int(port)})
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
