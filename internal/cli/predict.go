package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of what predict keeps in memory. A longer answer, or one that is a
// stream, is copied as it comes.
const (
	maxPretty  = 16 << 20
	maxRefusal = 64 << 10
)

func (a *app) predictCommand() *cobra.Command {
	var env string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "predict API_NAME [FILE|-]",
		Short: "make a prediction request to an api",
		Long: "POST a file, or the standard input, as JSON to the endpoint of an API and print the\n" +
			"answer: JSON indented, anything else as it is. An API that asks who calls gets what the\n" +
			"variable CORTEX_API_KEY has: a key, or what cortex token prints.",
		Example: "  cortex predict iris sample.json\n" +
			"  echo '{\"sepal_length\": 5.1}' | cortex predict iris -",
		Args: between(1, "API_NAME", "FILE"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.apiNames(&env)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body, length, err := a.predictBody(args[1:])
			if err != nil {
				return err
			}
			defer body.Close()
			ctx := cmd.Context()
			if timeout > 0 {
				limited, cancel := context.WithTimeoutCause(ctx, timeout,
					fault.New(fault.Unavailable, "cli.predict_timeout", "%s has not answered after %s", args[0], timeout).
						WithHint("see `cortex explain %s`", args[0]))
				defer cancel()
				ctx = limited
			}
			err = a.predict(ctx, env, args[0], body, length)
			if errors.Is(err, context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return err
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait for the answer (default: as long as the api takes)")
	return cmd
}

// predictBody opens what is sent; its length is -1 when unknown.
func (a *app) predictBody(args []string) (io.ReadCloser, int64, error) {
	if len(args) == 0 {
		if _, ok := terminal(a.streams.In); ok {
			return nil, 0, fault.New(fault.Usage, "cli.wrong_arguments", "missing FILE").
				WithHint("name a file, or - to read the standard input")
		}
		args = []string{"-"}
	}
	if args[0] == "-" {
		return io.NopCloser(a.streams.In), -1, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, 0, fault.New(fault.NotFound, "cli.unreadable_file", "reading the request: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", args[0])
	}
	if err != nil {
		f.Close()
		return nil, 0, fault.New(fault.Invalid, "cli.unreadable_file", "reading the request: %w", err)
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}

func (a *app) predict(ctx context.Context, env, name string, body io.Reader, length int64) error {
	t, err := a.connect(ctx, env, jsonOut, start)
	if err != nil {
		return err
	}
	api, err := t.Get(ctx, name)
	if err != nil {
		return err
	}
	if err := callable(api, name); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.Endpoint, body)
	if err != nil {
		return fmt.Errorf("making a request to %s: %w", api.Endpoint, err)
	}
	req.ContentLength = length
	if length == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*;q=0.9")
	a.proveCaller(req.Header)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unreachable(name, api.Endpoint, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(name, resp)
	}
	if _, shown := terminal(a.streams.Out); !shown {
		return writeAnswer(a.streams.Out, resp)
	}
	w := &visibleWriter{to: a.streams.Out}
	return errors.Join(writeAnswer(w, resp), w.Flush())
}

// unreachable is that an API could not be called.
func unreachable(name, url string, err error) error {
	return fault.New(fault.Disconnected, "cli.api_unreachable", "calling %s at %s: %w", name, url, err).WithHint("see `cortex explain %s`", name)
}

// callable reports why an API cannot be called.
func callable(api workload.APIResponse, name string) error {
	if api.Metadata != nil && api.Metadata.Kind != workload.Realtime && api.Metadata.Kind != workload.Splitter {
		f := fault.New(fault.Unsupported, "resources.operation_is_only_supported_for_kind",
			"%s is a %s; predictions are made by a RealtimeAPI or a TrafficSplitter", name, api.Metadata.Kind)
		if api.Metadata.Kind == workload.Async {
			return f.WithHint("work is submitted to it with `cortex submit %s`", name)
		}
		return f
	}
	if s := api.Status; s != nil && s.Phase == workload.PhaseFailed && s.Ready == 0 {
		return fault.New(fault.Unavailable, "cli.api_not_ready", "%s has no replica that is ready: %s", name, orElse(s.Reason, "its replicas fail")).
			WithHint("see `cortex explain %s`", name)
	}
	if api.Endpoint == "" {
		return fault.New(fault.Unavailable, "cli.api_not_ready", "%s has no endpoint", name)
	}
	return nil
}

func refusal(name string, resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	text := strings.TrimSpace(string(data))
	if text != "" {
		text = ": " + text
	}
	f := fault.New(fault.Unavailable, "cli.prediction_failed", "%s answered %s%s", name, resp.Status, text)
	if after := resp.Header.Get("Retry-After"); after != "" {
		return f.WithHint("it asks to be called again in %s seconds; see `cortex describe %s`", after, name)
	}
	if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") != "" {
		return f.WithHint("set %s to a key (cortex keys create NAME --api %s), or to what cortex token prints", envAPIKey, name)
	}
	return f.WithHint("see `cortex logs %s`", name)
}

// envAPIKey is the variable with the credential that APIs are shown.
const envAPIKey = "CORTEX_API_KEY" //nolint:gosec // the name of a variable, not a key

// proveCaller adds to a request to an API what proves the caller, if there is anything.
func (a *app) proveCaller(h http.Header) {
	if key := strings.TrimSpace(a.getenv(envAPIKey)); key != "" {
		h.Set("Authorization", "Bearer "+key)
	}
}

// writeAnswer copies the body, indented if it is JSON that fits in memory.
func writeAnswer(w io.Writer, resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") && kind != "" && !strings.HasPrefix(kind, "text/plain") {
		_, err := io.Copy(w, resp.Body)
		return err
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPretty+1))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var indented bytes.Buffer
	if len(head) <= maxPretty && json.Indent(&indented, head, "", "  ") == nil {
		head = indented.Bytes()
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	if len(head) > 0 && head[len(head)-1] != '\n' && indented.Len() > 0 {
		_, err = io.WriteString(w, "\n")
		return err
	}
	_, err = io.Copy(w, resp.Body)
	return err
}
