package local

import (
	"fmt"
	"path/filepath"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// codeDaemonized is the reason of a server that went into the background: its first
// process ended and said that all is well, and left others running. Nobody can tell
// when such a server has ended, so they were ended with it.
const codeDaemonized = "daemonized"

// foreground is how servers that people know stay in the foreground.
var foreground = []struct{ programs, do string }{
	{"nginx", `add "-g", "daemon off;" to the command of nginx`},
	{"redis-server valkey-server", `add "--daemonize", "no" to the command of redis-server`},
	{"postgres pg_ctl pg_ctlcluster", "run `postgres` itself, not pg_ctl"},
	{"httpd apache2 apachectl apache2ctl", `add "-DFOREGROUND" to the command of Apache`},
	{"gunicorn", "leave --daemon (-D) out of the command of gunicorn, and `daemon` out of its configuration"},
	{"uwsgi", "leave --daemonize out of the command of uwsgi"},
	{"haproxy", `leave -D and "daemon" out, or add "-db" to the command of haproxy`},
	{"memcached", "leave -d out of the command of memcached"},
	{"mongod", "leave --fork out of the command of mongod"},
	{"php-fpm", `add "-F" to the command of php-fpm`},
	{"lighttpd sshd", `add "-D" to its command`},
	{"supervisord", `add "-n" to the command of supervisord`},
	{"celery", "run `celery worker`, not `celery multi`, and leave --detach out"},
	{"nohup screen tmux", "leave nohup, screen or tmux out: Cortex keeps the server running"},
}

// daemonized returns the reason of a container that put itself into the background;
// nil for any other end.
func daemonized(v view) *workload.Reason {
	if v.exit.Code != 0 || v.exit.Left == 0 {
		return nil
	}
	left := "a process"
	if v.exit.Left > 1 {
		left = fmt.Sprintf("%d processes", v.exit.Left)
	}
	return &workload.Reason{
		Code: codeDaemonized,
		Message: fmt.Sprintf("container %s went into the background: its first process ended with exit code 0 and left %s running, which had to be ended",
			v.name, left),
		Fix: stayInForeground(v.command),
	}
}

// stayInForeground says what to change in a command, by the programs it names; a
// script of `sh -c` is looked through as well.
func stayInForeground(command []string) string {
	for word := range strings.FieldsSeq(strings.NewReplacer(";", " ", "&", " ", "|", " ", "'", " ", `"`, " ").Replace(strings.Join(command, " "))) {
		name := filepath.Base(word)
		for _, f := range foreground {
			for program := range strings.FieldsSeq(f.programs) {
				if name == program || strings.HasPrefix(name, program) && strings.Trim(name[len(program):], "0123456789.-") == "" {
					return f.do
				}
			}
		}
	}
	return "let the server stay in the foreground: look for its switch, and in a script put `exec` before the server instead of & behind it"
}
