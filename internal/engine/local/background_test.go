package local

import (
	"strings"
	"testing"
)

func TestServersThatGoIntoTheBackground(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		command []string
		exit    Exit
		code    string
		fix     string
	}{
		{"nginx", []string{"/usr/sbin/nginx", "-c", "nginx.conf"}, Exit{Left: 3}, "daemonized", `"daemon off;"`},
		{"in a script", []string{"sh", "-c", "prepare; redis-server --port $CORTEX_PORT"}, Exit{Left: 1}, "daemonized", `"--daemonize", "no"`},
		{"with a version", []string{"php-fpm8.2"}, Exit{Left: 1}, "daemonized", `"-F"`},
		{"of somebody's own", []string{"./server"}, Exit{Left: 1}, "daemonized", "stay in the foreground"},
		{"it says what failed", []string{"nginx"}, Exit{Code: 1, Left: 1}, "exited", "the last log lines"},
		{"it left nothing", []string{"nginx"}, Exit{}, "exited", "the last log lines"},
	} {
		v := view{name: "main", command: tt.command, exit: &tt.exit, ends: 1}
		r := exited(v)
		if r.Code != tt.code || !strings.Contains(r.Fix, tt.fix) {
			t.Errorf("%s: exited() = %+v, want %s with %q", tt.name, r, tt.code, tt.fix)
		}
	}
}
