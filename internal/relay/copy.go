package relay

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
)

// MaxCopy bounds the body of a request that is copied.
const MaxCopy = 1 << 20

// Copy is a request as it was forwarded, to be sent a second time elsewhere.
type Copy struct {
	head    []byte // ends before its framing fields and empty line
	body    []byte // decoded
	hasBody bool
	over    bool
	call    bool // of gRPC, by HTTP/2
}

// Size returns the bytes that c keeps in memory.
func (c *Copy) Size() int64 { return int64(len(c.head) + len(c.body)) }

// Over reports whether the body was longer than MaxCopy, so that c is of no use.
func (c *Copy) Over() bool { return c.over }

// CopyTo hands a copy of the request to fn once its body was read completely. fn
// must not block: the exchange waits for it. Upgrades are not copied.
func (x *Exchange) CopyTo(fn func(*Copy)) { x.copyTo = fn }

// startCopy begins the copy if one is wanted. Call it when c.out was prepared.
func (c *conn) startCopy() {
	x := &c.x
	if x.copyTo == nil || x.upgrade {
		return
	}
	to := x.copyTo
	if c.st != nil {
		x.copyTo = nil // the body may be sent once more, and is copied once
	}
	cp := &Copy{head: c.appendFields(nil), hasBody: c.req.body != noBody || c.req.length == 0, call: x.call.is}
	if c.req.body == sized {
		if c.req.length > MaxCopy {
			cp.over = true
		} else {
			cp.body = append(make([]byte, 0, c.req.length), c.out[c.headLen:]...)
		}
	}
	if c.reqBody.done || cp.over {
		to(cp)
		return
	}
	c.reqBody.tee = cp
	c.reqBody.copied = to
}

// take adds what was just read of the body, and hands the copy over at its end.
func (b *body) take(p []byte) {
	cp := b.tee
	if cp.over = cp.over || len(cp.body)+len(p) > MaxCopy; cp.over {
		cp.body = nil
	} else {
		cp.body = append(cp.body, p...)
	}
	if b.done || cp.over {
		b.tee = nil
		b.copied(cp)
	}
}

// Send sends c to u, HTTP/1.1 on a connection of its own, and reads the answer to its end,
// to no effect. It returns the status of the answer.
func (c *Copy) Send(ctx context.Context, u *Upstream) (status int, err error) {
	if c.call {
		return c.sendCall(ctx, u)
	}
	up, err := u.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer up.shut()
	stop := context.AfterFunc(ctx, func() { _ = up.nc.SetDeadline(time.Unix(1, 0)) }) // unblocks what runs below
	defer stop()
	out := append(c.head, "Connection: close\r\n"...)
	if c.hasBody {
		out = append(out, "Content-Length: "...)
		out = append(strconv.AppendInt(out, int64(len(c.body)), 10), crlf...)
	}
	out = append(append(out, crlf...), c.body...)
	if _, err := up.nc.Write(out); err != nil {
		return 0, fmt.Errorf("sending a copy: %w", err)
	}
	var line [12]byte // HTTP/1.1 200
	if _, err := io.ReadFull(up.nc, line[:]); err != nil {
		return 0, fmt.Errorf("reading the answer to a copy: %w", err)
	}
	if status, err = strconv.Atoi(string(line[9:])); err != nil || status < 100 {
		return 0, fmt.Errorf("reading the answer to a copy: %w", errStatusLine)
	}
	_, err = io.Copy(io.Discard, up.nc)
	return status, err
}

// sendCall is Send for a call of gRPC. The status is what HTTP has for that of the call.
func (c *Copy) sendCall(ctx context.Context, u *Upstream) (status int, err error) {
	var up upConn
	if err := u.stream(func() context.Context { return ctx }, Limits{}.WithDefaults().Header, &up, false); err != nil {
		return 0, err
	}
	defer up.st.Close()
	given := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { up.giveUp(); close(given) }) // which ends what waits below
	defer func() {
		if !stop() {
			<-given // nobody may use a stream that is closed
		}
	}()
	if err := up.st.Send(append(c.head, crlf...), c.body, true, nil); err != nil {
		return 0, fmt.Errorf("sending a copy: %w", err)
	}
	var h head
	var text []byte
	for h.status < 200 {
		if text, err = up.st.Answer(); err != nil {
			return 0, fmt.Errorf("reading the answer to a copy: %w", err)
		}
		if r := h.parseResponse(text); r != nil {
			return 0, fmt.Errorf("reading the answer to a copy: %w", r)
		}
	}
	status = h.status
	if code, ok := callStatusIn(text); ok {
		status = statusOfCall(code)
	}
	for last := false; !last; {
		var p []byte
		if p, last, err = up.st.Next(); err != nil {
			return status, fmt.Errorf("reading the answer to a copy: %w", err)
		}
		if len(p) > 0 {
			up.st.Advance(len(p))
		}
	}
	if code, ok := callStatusIn(up.st.Trailer()); ok {
		status = statusOfCall(code)
	}
	return status, nil
}
