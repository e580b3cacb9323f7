package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Exec implements workload.Service, over the connection of its request.
func (c *Client) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	if !isSegment(req.Name) {
		return 0, notDeployed(req.Name)
	}
	req.Stdin = streams.Stdin != nil
	k := call{method: http.MethodPost, path: "/v1/apis/" + url.PathEscape(req.Name) + "/exec", body: req, upgrade: execProtocol}
	resp, err := c.send(ctx, k)
	if err != nil {
		return 0, c.explain(ctx, k, err)
	}
	defer resp.Body.Close()
	conn, both := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !both {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
		if err != nil {
			return 0, c.explain(ctx, k, err)
		}
		return 0, c.refused(ctx, resp, data)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the command ends with it
	defer stop()
	f := &frames{r: bufio.NewReader(conn), w: conn}
	if streams.Stdin != nil {
		go func() { // ends with the caller's input, or with the connection
			_, err := io.Copy(out{f, frameStdin}, streams.Stdin)
			if err == nil {
				_ = f.write(frameStdin, nil)
			}
		}()
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case size, ok := <-streams.Resize:
				if !ok {
					return
				}
				data, _ := json.Marshal(size) // numbers always have a form
				_ = f.write(frameResize, data)
			}
		}
	}()
	code, err := listenTo(f, streams)
	if errors.Is(err, errCutOff) {
		err = c.explain(ctx, k, err)
		if fault.Code(err) == codeConnectionLost {
			err = fault.New(fault.Disconnected, codeConnectionLost, "the connection to %s broke, and the command was ended with it", c.where)
		}
	}
	return code, err
}

// listenTo hands on what the command writes until it ends.
func listenTo(f *frames, streams workload.ExecStreams) (int, error) {
	for {
		letter, data, err := f.read()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errCutOff, err)
		}
		switch letter {
		case frameStdout:
			_, err = streams.Stdout.Write(data)
		case frameStderr:
			_, err = streams.Stderr.Write(data)
		case frameEnd:
			var end ExecEnd
			if err := json.Unmarshal(data, &end); err != nil {
				return 0, fmt.Errorf("%w: its last frame cannot be read: %w", errCutOff, err)
			}
			if end.Error != nil {
				return 0, end.Error.fault()
			}
			return end.Code, nil
		}
		if err != nil {
			return 0, err // nobody reads what it writes
		}
	}
}
