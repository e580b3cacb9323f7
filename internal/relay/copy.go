package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
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
}

// Size returns the bytes that c keeps in memory.
func (c *Copy) Size() int64 { return int64(len(c.head) + len(c.body)) }

// Over reports whether the body was longer than MaxCopy, so that c is of no use.
func (c *Copy) Over() bool { return c.over }

// NewCopy returns a copy of r, which is about to be forwarded and did not come as HTTP/1,
// with the body that it has; whole says that this is all of it. Else the copy is over.
func NewCopy(r *http.Request, body []byte, whole bool) *Copy {
	if !whole {
		return &Copy{over: true}
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.Host)
	_ = r.Header.WriteSubset(&head, map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Te": true}) // to memory
	return &Copy{head: head.Bytes(), body: body, hasBody: r.ContentLength != 0 || len(body) > 0}
}

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
	cp := &Copy{head: c.appendFields(nil), hasBody: c.req.body != noBody || c.req.length == 0}
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

// Send sends c to u on a connection of its own and reads the answer to its end,
// to no effect. It returns the status of the answer.
func (c *Copy) Send(ctx context.Context, u *Upstream) (status int, err error) {
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
