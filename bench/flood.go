package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// Of a flood: how many bad proofs a second, over how many connections of how many
// addresses, beside how many requests a second with a valid session.
const (
	floodRate        = 10_000
	floodConnections = 16
	floodAddresses   = 8
	validRate        = 200
)

// floods measures what happens to those who have a session while somebody sends
// bad proofs as fast as that.
func floods(ctx context.Context, p *place) (rows []row.Row, err error) {
	t, err := p.startTeam(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, t.stop()) }()
	mine := t.client(900, 2)
	session, err := t.signIn(ctx, mine, member(0))
	if err != nil {
		return nil, err
	}
	span := time.Duration(p.Times(10, 3)) * time.Second
	calm, err := t.valid(ctx, mine, session.Token, span)
	if err != nil {
		return nil, err
	}
	pid := t.daemon.Process.Pid
	// A first second of it makes what the server keeps ready for any load.
	if _, err := t.flood(ctx, time.Second); err != nil {
		return nil, err
	}
	before, err := processes(pid, p.server)
	if err != nil {
		return nil, err
	}
	calls := t.sts.Calls().GetCallerIdentity
	var sent int64
	var flooded error
	var wait sync.WaitGroup
	wait.Go(func() { sent, flooded = t.flood(ctx, span) })
	under, err := t.valid(ctx, mine, session.Token, span)
	wait.Wait()
	if err := errors.Join(err, flooded); err != nil {
		return nil, err
	}
	after, err := processes(pid, p.server)
	if err != nil {
		return nil, err
	}
	asked := t.sts.Calls().GetCallerIdentity - calls
	share := under / calm
	rate := float64(sent) / span.Seconds()
	growth := float64(after.resident-before.resident) / 1e6
	// The burst, and 20 a second.
	most := 50 + int(20*span.Seconds())
	note := fmt.Sprintf("%.0f bad proofs a second were answered, over %d connections from %d addresses", rate, floodConnections, floodAddresses)
	reached := rate >= 0.95*floodRate
	return []row.Row{
		{What: whatFlood, Ours: fmt.Sprintf("%.0f/s", under), Theirs: fmt.Sprintf("%.0f/s in calm", calm), Ratio: fmt.Sprintf("%.2f ×", share),
			Target: "≥ 0.9 ×", Met: share >= 0.9 && reached, Note: note},
		{What: whatFloodMemory, Ours: fmt.Sprintf("%+.1f MB", growth), Ratio: fmt.Sprintf("%.2f ×", float64(after.resident)/float64(before.resident)),
			Target: "flat: ≤ 8 MB", Met: growth <= 8 && reached, Note: fmt.Sprintf("%.1f MB before", float64(before.resident)/1e6)},
		{What: whatFloodSTS, Ours: fmt.Sprint(asked), Target: fmt.Sprintf("≤ %d", most), Met: asked <= most && reached,
			Ratio: fmt.Sprintf("%.2f × of the limit", float64(asked)/float64(most))},
	}, nil
}

// valid asks at a steady rate for a while and returns how many answers came a second.
func (t *team) valid(ctx context.Context, c *http.Client, token string, span time.Duration) (float64, error) {
	var answered atomic.Int64
	begun := time.Now()
	_, err := asks(2, int(validRate*span.Seconds()), func() error {
		n := answered.Add(1)
		if until := time.Until(begun.Add(time.Duration(n) * time.Second / validRate)); until > 0 {
			if err := load.Wait(ctx, until); err != nil {
				return err
			}
		}
		return look(ctx, c, t.operator, token)
	})
	return float64(answered.Load()) / time.Since(begun).Seconds(), err
}

// flood sends well-formed proofs with bad signatures and returns how many were
// answered. Its requests are written at once in small batches: the load generator
// must not cost more than the server.
func (t *team) flood(ctx context.Context, span time.Duration) (int64, error) {
	var sent atomic.Int64
	var mu sync.Mutex
	var problems []error
	var group sync.WaitGroup
	for i := range floodConnections {
		group.Go(func() {
			if err := t.floodOne(ctx, i, span, &sent); err != nil {
				mu.Lock()
				problems = append(problems, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return sent.Load(), errors.Join(problems...)
}

func (t *team) floodOne(ctx context.Context, i int, span time.Duration, sent *atomic.Int64) error {
	address := strings.TrimPrefix(t.operator, "https://")
	dialer := &tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, 3, byte(133+i%floodAddresses))}}, Config: t.trust}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	read := bufio.NewReaderSize(conn, 16<<10)
	end := time.Now().Add(span)
	_ = conn.SetDeadline(end.Add(30 * time.Second))
	const batch = 10
	pace := time.NewTicker(time.Second * batch * floodConnections / floodRate)
	defer pace.Stop()
	for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
		if err := badBatch(conn, read, address, i<<20|n, batch); err != nil {
			return err
		}
		for range batch {
			status, err := answer(read, nil)
			if err != nil {
				return err
			}
			if status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				return fmt.Errorf("a bad proof was answered with %d", status)
			}
			sent.Add(1)
		}
		<-pace.C
	}
	return nil
}

// badBatch asks for a challenge and sends proofs for it that are well-formed and
// wrong, each in the name of another key, so that nothing that is remembered helps.
func badBatch(conn net.Conn, read *bufio.Reader, address string, id, batch int) error {
	if _, err := fmt.Fprintf(conn, "GET /v1/auth/challenge HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
		return err
	}
	var challenge struct{ Nonce string }
	if _, err := answer(read, &challenge); err != nil {
		return err
	}
	var all strings.Builder
	for j := range batch {
		body, err := json.Marshal(map[string]string{
			"access_key_id": strings.ToUpper("AKIA" + fmt.Sprintf("%014x%02x", id, j)), "amz_date": time.Now().UTC().Format("20060102T150405Z"),
			"signature": strings.Repeat("0123456789abcdef", 4), "nonce": challenge.Nonce,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "POST /v1/auth/session HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body)
	}
	_, err := io.WriteString(conn, all.String())
	return err
}

// answer reads one answer to its end, into v unless that is nil, and returns its
// status.
func answer(read *bufio.Reader, v any) (status int, err error) {
	resp, err := http.ReadResponse(read, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && v != nil {
		err = json.Unmarshal(body, v)
	}
	return resp.StatusCode, err
}
