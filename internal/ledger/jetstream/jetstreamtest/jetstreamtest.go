// Package jetstreamtest starts real servers of NATS in the process of a test, which wait for
// the disk with every write.
//
// It promises that what it returns can be used at once. It must not be linked by a program.
package jetstreamtest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func freePorts(t testing.TB, n int) (ports []int) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr, _ := l.Addr().(*net.TCPAddr)
		ports = append(ports, addr.Port)
	}
	return ports
}

// Start starts n servers and returns the URL of all. They end with the test.
func Start(t testing.TB, n int) string {
	t.Helper()
	ports := freePorts(t, 2*n)
	var servers []*server.Server
	var urls []string
	for i := range n {
		opts := &server.Options{
			ServerName: "s" + strconv.Itoa(i), Host: "127.0.0.1", Port: ports[i], NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), SyncInterval: 0, SyncAlways: true,
		}
		if n > 1 {
			opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[n+i]}
			var routes string
			for j := range n {
				routes += fmt.Sprintf("nats://127.0.0.1:%d,", ports[n+j])
			}
			opts.Routes = server.RoutesFromStr(routes[:len(routes)-1])
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server does not start")
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for n > 1 && !current(servers) {
		if time.Now().After(deadline) {
			t.Fatal("the servers do not become a cluster")
		}
		time.Sleep(50 * time.Millisecond)
	}
	url := strings.Join(urls, ",")
	for n > 1 && !placed(t, url, n) { // the leader has not heard of all of them yet
		if time.Now().After(deadline) {
			t.Fatal("the servers keep no stream")
		}
		time.Sleep(50 * time.Millisecond)
	}
	return url
}

func current(servers []*server.Server) bool {
	leader := false
	for _, s := range servers {
		if !s.JetStreamIsCurrent() {
			return false
		}
		leader = leader || s.JetStreamIsLeader()
	}
	return leader
}

// placed reports whether a stream can be kept by all servers.
func placed(t testing.TB, url string, n int) bool {
	conn, err := nats.Connect(url)
	if err != nil {
		return false
	}
	defer conn.Close()
	js, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{Name: "placed", Replicas: n})
	if err == nil {
		err = js.DeleteStream("placed")
	}
	return err == nil
}
