package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/executions"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of requests to runs.
const (
	attachEvery  = 500 * time.Millisecond
	attachTries  = 20
	maxSentNames = 1 << 20 // bytes of the ids of requests
)

// newWorkers returns how requests reach runs. A sidecar says how far a container is by
// interim answers, as many as it takes.
func newWorkers() *http.Transport {
	return &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 1 << 20}
}

// ask sends a request to the sidecar of a run.
func (r *podRun) ask(req *http.Request, path string) (*http.Response, error) {
	r.mu.Lock()
	p := r.is
	r.mu.Unlock()
	if p.Status.PodIP == "" {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("the pod " + r.pod + " has no address")}
	}
	executions.At(req.URL, p.Status.PodIP, path)
	interim := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil }}
	return r.e.workers.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), interim)))
}

// get asks for something of the sidecar.
func (r *podRun) get(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sidecar/", http.NoBody)
	if err != nil {
		return nil, err
	}
	return r.ask(req, path)
}

// Send implements engine.Running. The sidecar has it executed: what breaks between it and
// this process is asked for again.
func (r *podRun) Send(req *http.Request, id string) (*http.Response, error) {
	if to := req.URL.Path; to != "/" {
		req.Header.Set(workload.ExecutionTarget, to)
	}
	path, ctx := workload.ExecutionsPath+id, req.Context()
	resp, err := r.ask(req, path)
	var op *net.OpError
	for again := 0; err != nil && !(errors.As(err, &op) && op.Op == "dial" && again == 0) && again < attachTries; again++ {
		select {
		case <-ctx.Done():
			return nil, err
		case <-r.done:
			return nil, err
		case <-time.After(attachEvery):
		}
		resp, err = r.get(ctx, http.MethodGet, path)
	}
	if err != nil {
		return nil, err
	}
	resp, err = executions.Answer(resp)
	if errors.Is(err, executions.ErrStopped) { // nobody's fault, as if it had never come
		err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return resp, err
}

// Sent implements engine.Running.
func (r *podRun) Sent(ctx context.Context) (ids []string, _ error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := r.get(ctx, http.MethodGet, workload.ExecutionsPath)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, nil // it has not begun, or has ended
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the sidecar of %s answers with status %d", r.pod, resp.StatusCode)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxSentNames)).Decode(&ids)
	return ids, err
}

// Settle implements engine.Running. What is not forgotten now the sidecar forgets later.
func (r *podRun) Settle(ctx context.Context, ids []string) {
	for _, id := range ids {
		resp, err := r.get(ctx, http.MethodDelete, workload.ExecutionsPath+id)
		if err != nil {
			return
		}
		_ = resp.Body.Close() // it says nothing
	}
}

// Result implements engine.Running. The sidecar has it until the pod is gone, and says it
// with its own end if it is short.
func (r *podRun) Result(ctx context.Context, most int) ([]byte, error) {
	for {
		resp, err := r.get(ctx, http.MethodGet, workload.ResultPath)
		if err == nil {
			data, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
			_ = resp.Body.Close() // it was only read
			if err == nil && resp.StatusCode == http.StatusOK {
				return data, nil
			}
			if err == nil {
				return nil, fmt.Errorf("the sidecar answers with status %d: %.200q", resp.StatusCode, data)
			}
		}
		r.mu.Lock()
		p, changed := r.is, r.changed
		r.mu.Unlock()
		if said, ended := lastWords(p); ended {
			return []byte(said[:min(len(said), most+1)]), nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("asking the sidecar of %s for it: %w", r.pod, errors.Join(err, context.Cause(ctx)))
		case <-changed:
		case <-time.After(attachEvery):
		}
	}
}

// lastWords are those of the sidecar, if it has ended.
func lastWords(p *corev1.Pod) (string, bool) {
	for _, s := range p.Status.InitContainerStatuses {
		if s.Name == sidecarName && s.State.Terminated != nil {
			return s.State.Terminated.Message, true
		}
	}
	return "", false
}

var _ engine.Running = (*podRun)(nil)
