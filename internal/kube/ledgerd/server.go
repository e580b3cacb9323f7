package ledgerd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
)

// clusterName is of several servers; they refuse those of another one.
const clusterName = "cortex"

const (
	// maxMemory bounds what is kept in memory only: which programs are there.
	maxMemory = 64 << 20
	// Clients of a server that stops hear of the others, and after a moment are told to go
	// there, one after another, within a time.
	clientsWait = time.Second
	clientsGo   = 5 * time.Second
)

// options are those of the server. Nothing listens but for clients and for other servers.
func (c Config) options(username, password string) (*server.Options, error) {
	host, port, err := listen(c.Listen)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: c.Pod, Host: host, Port: port, Username: username, Password: password,
		NoSigs: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: c.Data, SyncAlways: true, JetStreamMaxStore: c.MaxBytes, JetStreamMaxMemory: maxMemory,
		LameDuckGracePeriod: clientsWait, LameDuckDuration: clientsGo,
	}
	if c.Servers == 1 {
		return o, nil
	}
	if host, port, err = listen(c.RoutesListen); err != nil {
		return nil, err
	}
	o.Cluster = server.ClusterOpts{Name: clusterName, Host: host, Port: port, Username: username, Password: password}
	for _, at := range c.peers() {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: at, User: url.UserPassword(username, password)})
	}
	return o, nil
}

// listen is an address as the server takes it, which means other things by nothing and 0.
func listen(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("address %s: %w", address, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
		// Both families, where the machine has the second.
		if both, err := net.Listen("tcp", "[::]:0"); err == nil {
			_ = both.Close() // it was only to see
			host = "::"
		}
	}
	return host, port, nil
}

// claimFile says how many servers the folder was filled by.
const claimFile = "servers"

// claim refuses a folder that was filled by one server alone when there are several, and
// the other way round. Several take what one has written for left-overs, and remove it.
func claim(dir string, servers int) error {
	broken := func(err error) error {
		return fault.New(fault.Unavailable, "ledger.data", "the folder %s: %w", dir, err).WithHint("it has to be on a disk that this program may write to")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return broken(err)
	}
	file := filepath.Join(dir, claimFile)
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return broken(err)
	}
	if err == nil {
		before, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return broken(fmt.Errorf("the file %s has %q, which is no number of servers", claimFile, text))
		}
		if (before == 1) != (servers == 1) {
			return fault.New(fault.Conflict, "ledger.other_servers", "the folder %s was filled by one of %d servers, and now there are to be %d", dir, before, servers).
				WithHint("set items.servers to %d again; one server cannot become several, nor several one", before)
		}
		if before == servers {
			return nil
		}
	}
	if err := atomicfile.Replace(file, []byte(strconv.Itoa(servers)+"\n")); err != nil {
		return broken(err)
	}
	return nil
}

// serverLog writes what the server says to the log of the program, and keeps why it cannot
// go on, which the server does not return.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // the first reason
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) Noticef(format string, v ...any) { l.log.Info(said(format, v)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(said(format, v)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(said(format, v)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- said(format, v):
	default:
	}
}

// said is a line of the server, which indents some.
func said(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
