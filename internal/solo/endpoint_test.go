package solo

import (
	"net"
	"testing"
)

// A container reaches the front door only at an address that is not its own loopback.
func TestEndpointInDocker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ listen, goos, want string }{
		{"127.0.0.1", "linux", ""},
		{"127.0.0.1", "darwin", "http://host.docker.internal:8888"},
		{"0.0.0.0", "linux", "http://host.docker.internal:8888"},
		{"::", "linux", "http://host.docker.internal:8888"},
		{"10.0.0.5", "linux", "http://10.0.0.5:8888"},
	} {
		if got := endpointInDocker(&net.TCPAddr{IP: net.ParseIP(tt.listen), Port: 8888}, tt.goos); got != tt.want {
			t.Errorf("endpointInDocker(%s, %s) = %q, want %q", tt.listen, tt.goos, got, tt.want)
		}
	}
}
