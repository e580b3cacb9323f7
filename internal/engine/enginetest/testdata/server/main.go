// Command server is the container that the conformance suite runs. It behaves as
// its environment says:
//
//	SERVER_LISTEN_AFTER  wait so long before listening
//	SERVER_PORT          listen there instead of on CORTEX_PORT; "none": nowhere
//	SERVER_HOST          listen on this address only
//	SERVER_EXIT          exit with this code at once (after SERVER_EXIT_AFTER)
//	SERVER_IGNORE_TERM   do not end on SIGTERM
//	SERVER_CHILD         start a child as daemons do: of a parent that ends, in a session
//	                     of its own, with an empty environment; it ignores SIGTERM
//	SERVER_SICK          answer 500 on /health
//	SERVER_EAT           take memory until somebody says no
//	SERVER_PRINT         print this at the start
//	SERVER_WAIT_FOR      exit with code 1 unless this file exists
//
// Called as "server check FILE" it exits 0 when FILE exists, and as
// "server touch FILE" it makes FILE.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// identity tells this server from any other that ever has its address.
var identity = strconv.FormatInt(time.Now().UnixNano(), 36) + strconv.Itoa(os.Getpid())

func main() {
	if len(os.Args) == 3 || len(os.Args) == 4 && os.Args[1] == "copy" {
		os.Exit(helper(os.Args[1], os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == "daemon" {
		child := inSession("child")
		if err := child.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("child", child.Process.Pid)
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "child" {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		time.Sleep(time.Hour)
	}
	os.Exit(serve())
}

// inSession is this program once more, in a session of its own and without an environment.
func inSession(verb string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], verb)
	cmd.Env = []string{"NOTHING="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func helper(verb, file string) int {
	switch verb {
	case "answer": // with what is said to it, and this exit code
		_, _ = io.Copy(os.Stdout, os.Stdin)
		fmt.Fprint(os.Stderr, "answered")
		code, _ := strconv.Atoi(file)
		return code
	case "check":
		if _, err := os.Stat(file); err != nil {
			fmt.Println(err)
			return 3
		}
	case "touch":
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
	case "copy": // to the file that is named next
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(os.Args[len(os.Args)-1], data, 0o600)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	case "say":
		fmt.Println(file)
	case "sleep":
		d, _ := time.ParseDuration(file)
		time.Sleep(d)
	}
	return 0
}

func duration(name string) time.Duration {
	d, _ := time.ParseDuration(os.Getenv(name))
	return d
}

func serve() int {
	fmt.Println("server starts")
	if text := os.Getenv("SERVER_PRINT"); text != "" {
		fmt.Println(text)
		fmt.Fprintln(os.Stderr, text+" (stderr)")
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	if os.Getenv("SERVER_CHILD") != "" {
		parent := inSession("daemon")
		parent.Stdout = os.Stdout
		if err := parent.Run(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	if os.Getenv("SERVER_EAT") != "" {
		for eaten := [][]byte{}; ; {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = 1
			}
			eaten = append(eaten, block)
		}
	}
	if file := os.Getenv("SERVER_WAIT_FOR"); file != "" {
		if _, err := os.Stat(file); err != nil {
			fmt.Fprintln(os.Stderr, "cannot work without", file)
			return 1
		}
	}
	if code := os.Getenv("SERVER_EXIT"); code != "" {
		time.Sleep(duration("SERVER_EXIT_AFTER"))
		n, _ := strconv.Atoi(code)
		fmt.Fprintln(os.Stderr, "exiting with", n)
		return n
	}
	failed := make(chan error, 1)
	time.AfterFunc(duration("SERVER_LISTEN_AFTER"), func() { failed <- listen() })
	for {
		select {
		case err := <-failed:
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		case <-terminated:
			fmt.Println("server was told to end")
			if os.Getenv("SERVER_IGNORE_TERM") == "" {
				return 0
			}
		}
	}
}

func listen() error {
	port := os.Getenv("SERVER_PORT")
	if port == "none" {
		return nil
	}
	if port == "" {
		port = os.Getenv("CORTEX_PORT")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("SERVER_HOST"), port))
	if err != nil {
		return err
	}
	var sick atomic.Bool
	sick.Store(os.Getenv("SERVER_SICK") != "")
	mux := http.NewServeMux()
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		env := map[string]string{}
		for _, e := range os.Environ() {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
		env["_args"] = strings.Join(os.Args[1:], " ")
		env["_identity"] = identity
		env["_dir"], _ = os.Getwd()
		env["_user"] = fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
		env["_root_is_writable"] = strconv.FormatBool(os.WriteFile("/written", nil, 0o600) == nil)
		status, _ := os.ReadFile("/proc/self/status")
		_, after, _ := strings.Cut(string(status), "CapBnd:")
		env["_capabilities"], _, _ = strings.Cut(strings.TrimSpace(after), "\n")
		_ = json.NewEncoder(w).Encode(env)
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "the model is not loaded", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("slow request begins")
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		time.Sleep(d)
		fmt.Println("slow request ends")
		fmt.Fprintln(w, "slow request ends")
	})
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/well", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	var count atomic.Int64
	mux.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, count.Add(1)) })
	mux.HandleFunc("/print", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.Query().Get("text")) })
	mux.HandleFunc("/touch", func(_ http.ResponseWriter, r *http.Request) { helper("touch", r.URL.Query().Get("file")) })
	mux.HandleFunc("/exists", func(w http.ResponseWriter, r *http.Request) {
		_, err := os.Stat(r.URL.Query().Get("file"))
		fmt.Fprint(w, err == nil)
	})
	mux.HandleFunc("/mounts", func(w http.ResponseWriter, _ *http.Request) {
		all, _ := os.ReadFile("/proc/self/mounts")
		_, _ = w.Write(all)
	})
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		fmt.Fprintln(os.Stderr, "exiting with", code)
		os.Exit(code)
	})
	mux.HandleFunc("/kill", func(http.ResponseWriter, *http.Request) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
	go func() { _ = http.Serve(l, mux) }()
	return nil
}
