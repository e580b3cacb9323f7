package awsrest

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bucket is a bucket of S3, or what is below a prefix in it.
type Bucket struct {
	c            *Client
	name, prefix string
	at, base     string // the bucket's address, and what its paths begin with
}

// Bucket is a bucket; prefix is empty or ends with a slash.
func (c *Client) Bucket(name, prefix string) *Bucket {
	b := &Bucket{c: c, name: name, prefix: prefix, at: c.cfg.S3, base: "/" + name}
	switch {
	case b.at != "": // a simulator or a store of one's own has no other name for a bucket
	case strings.Contains(name, "."): // no certificate is for such a name
		b.at = endpoint("s3", c.cfg.Region)
	default:
		b.at, b.base = strings.Replace(endpoint("s3", c.cfg.Region), "://", "://"+name+".", 1), ""
	}
	return b
}

func (b *Bucket) ask(method, key string) asked {
	return asked{service: "s3", method: method, at: b.at, path: b.base + "/" + escape(b.prefix+key, true), header: map[string]string{}}
}

// If is a condition of a write: that there is nothing, or that there is what was read.
type If struct {
	Absent bool
	ETag   string
}

// Object is what is kept under a key.
type Object struct {
	Data []byte
	ETag string
}

// ErrSame says that an object is still what it was.
var ErrSame = errors.New("the object is what it was")

// Get returns an object; with an ETag ErrSame where it still has that one.
func (b *Bucket) Get(ctx context.Context, key, unless string) (Object, error) {
	a := b.ask(http.MethodGet, key)
	if unless != "" {
		a.header["If-None-Match"] = unless
	}
	h, data, err := b.c.call(ctx, a)
	if Status(err) == http.StatusNotModified {
		return Object{}, ErrSame
	}
	if err != nil {
		return Object{}, err
	}
	return Object{data, h.Get("ETag")}, nil
}

// NoBucket reports whether err says that the bucket is not there.
func NoBucket(err error) bool { return Code(err) == "NoSuchBucket" }

// Size is how many bytes an object has.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	h, _, err := b.c.call(ctx, b.ask(http.MethodHead, key))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(h.Get("Content-Length"), 10, 64)
}

// Open reads an object from a byte on.
func (b *Bucket) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	a := b.ask(http.MethodGet, key)
	if from > 0 {
		a.header["Range"] = fmt.Sprintf("bytes=%d-", from)
	}
	resp, err := b.c.do(ctx, a)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Put writes an object and returns its ETag.
func (b *Bucket) Put(ctx context.Context, key string, data []byte, cond If) (string, error) {
	a := b.ask(http.MethodPut, key)
	a.body = data
	if cond.Absent {
		a.header["If-None-Match"] = "*"
	}
	if cond.ETag != "" {
		a.header["If-Match"] = cond.ETag
	}
	h, _, err := b.c.call(ctx, a)
	return h.Get("ETag"), err
}

// Delete removes an object; what is not there is no error. With an ETag it is removed only
// where it still has that one.
func (b *Bucket) Delete(ctx context.Context, key, etag string) error {
	a := b.ask(http.MethodDelete, key)
	if etag != "" {
		a.header["If-Match"] = etag
	}
	_, _, err := b.c.call(ctx, a)
	if Status(err) == http.StatusNotFound && !NoBucket(err) {
		return nil
	}
	return err
}

// Listed is what a list says of an object.
type Listed struct {
	Key      string
	ETag     string
	Modified time.Time
}

// listing is an answer of ListObjectsV2.
type listing struct {
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct {
		Key          string
		ETag         string
		LastModified time.Time
	}
}

// List calls fn with what is below a prefix and after a key, in the order of the keys, until
// fn returns false. It returns when S3 made the first page, by its own clock.
func (b *Bucket) List(ctx context.Context, prefix, after string, fn func(Listed) bool) (now time.Time, _ error) {
	token := ""
	for {
		q := map[string]string{"list-type": "2", "prefix": b.prefix + prefix}
		switch {
		case token != "":
			q["continuation-token"] = token
		case after != "":
			q["start-after"] = b.prefix + after
		}
		h, data, err := b.c.call(ctx, asked{service: "s3", method: http.MethodGet, at: b.at, path: b.base + "/", query: query(q)})
		if err != nil {
			return now, err
		}
		if now.IsZero() {
			now, _ = http.ParseTime(h.Get("Date")) // zero: it is not known
		}
		var page listing
		if err := xml.Unmarshal(data, &page); err != nil {
			return now, fmt.Errorf("the list of %s cannot be read: %w", b.name, err)
		}
		for _, o := range page.Contents {
			if !fn(Listed{strings.TrimPrefix(o.Key, b.prefix), o.ETag, o.LastModified}) {
				return now, nil
			}
		}
		if token = page.NextContinuationToken; !page.IsTruncated || token == "" {
			return now, nil
		}
	}
}

// partSize is how much of what has no known size is in memory; S3 takes 10,000 parts.
const partSize = 8 << 20

// PutAll writes what r has, however much that is, and returns how much it was. Nothing is
// kept of what does not come whole.
func (b *Bucket) PutAll(ctx context.Context, key string, r io.Reader) (int64, error) {
	part := make([]byte, 0, 64<<10)
	part, err := fill(part, r)
	if err != nil {
		return 0, err
	}
	if len(part) < partSize {
		_, err := b.Put(ctx, key, part, If{})
		return int64(len(part)), err
	}
	a := b.ask(http.MethodPost, key)
	a.query = "uploads="
	_, data, err := b.c.call(ctx, a)
	if err != nil {
		return 0, err
	}
	var begun struct {
		ID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal(data, &begun); err != nil || begun.ID == "" {
		return 0, errors.New("S3 names no upload")
	}
	size, err := b.parts(ctx, key, begun.ID, part, r)
	if err != nil {
		a := b.ask(http.MethodDelete, key)
		a.query = query(map[string]string{"uploadId": begun.ID})
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_, _, _ = b.c.call(within, a) // else the bucket's rule for what is not complete does
	}
	return size, err
}

// parts sends an upload in parts, and has S3 put them together.
func (b *Bucket) parts(ctx context.Context, key, id string, part []byte, r io.Reader) (size int64, _ error) {
	var list bytes.Buffer
	list.WriteString("<CompleteMultipartUpload>")
	for n := 1; len(part) > 0; n++ {
		a := b.ask(http.MethodPut, key)
		a.query, a.body = query(map[string]string{"partNumber": strconv.Itoa(n), "uploadId": id}), part
		h, _, err := b.c.call(ctx, a)
		if err != nil {
			return size, err
		}
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>", n)
		_ = xml.EscapeText(&list, []byte(h.Get("ETag"))) // a buffer takes everything
		list.WriteString("</ETag></Part>")
		size += int64(len(part))
		if part, err = fill(part[:0], r); err != nil {
			return size, err
		}
	}
	list.WriteString("</CompleteMultipartUpload>")
	a := b.ask(http.MethodPost, key)
	a.query, a.body = query(map[string]string{"uploadId": id}), list.Bytes()
	_, data, err := b.c.call(ctx, a)
	if Code(err) == "NoSuchUpload" { // an earlier answer was lost: it is complete, or gone
		if got, sized := b.Size(ctx, key); sized == nil && got == size {
			return size, nil
		}
	}
	if err != nil {
		return size, err
	}
	var failed struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.Unmarshal(data, &failed) == nil { // S3 may say so behind a 200
		return size, &Error{http.StatusInternalServerError, failed.Code, failed.Message}
	}
	return size, nil
}

// fill reads a part, or what is left.
func fill(part []byte, r io.Reader) ([]byte, error) {
	for len(part) < partSize {
		if len(part) == cap(part) {
			part = append(part, 0)[:len(part)]
		}
		n, err := r.Read(part[len(part):min(cap(part), partSize)])
		part = part[:len(part)+n]
		if errors.Is(err, io.EOF) {
			return part, nil
		}
		if err != nil {
			return part, err
		}
	}
	return part, nil
}
