package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// submission is what cortex submit was asked for.
type submission struct {
	env, key, contentType string
	out                   output
	wait, dryRun          bool
	priority              string
	labels                []string
}

func (a *app) submitCommand() *cobra.Command {
	var s submission
	cmd := &cobra.Command{
		Use:   "submit API_NAME [FILE|-]",
		Short: "submit work to an AsyncAPI, or a job to a BatchAPI or TaskAPI",
		Long: "POST a file, or the standard input, to the endpoint of an AsyncAPI and print the id of\n" +
			"the item that it becomes; with --wait, its result.\n\n" +
			"For a BatchAPI or a TaskAPI the file is a job, in JSON; a task needs none.",
		Example: "  cortex submit transcribe talk.wav\n" +
			"  cortex submit transcribe talk.wav --wait > talk.txt\n" +
			"  cortex submit classify job.json --wait\n" +
			"  cortex submit train",
		Args: between(1, "API_NAME", "FILE"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.apiNames(&s.env)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.submit(cmd.Context(), s, args) },
	}
	a.envFlag(cmd, &s.env)
	addOutputFlag(cmd, &s.out)
	cmd.Flags().BoolVar(&s.wait, "wait", false, "wait for the end, and print the result")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "check a job of a BatchAPI, and list the files that it would read")
	cmd.Flags().StringVar(&s.key, "key", "", "submissions with the same key and the same content are one, for a day")
	cmd.Flags().StringVar(&s.priority, "priority", "", "whose turn comes first: "+strings.Join(workload.ItemPriorities(), "|")+" (default: normal)")
	_ = cmd.RegisterFlagCompletionFunc("priority", cobra.FixedCompletions(workload.ItemPriorities(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringArrayVar(&s.labels, "label", nil, "a label to find the item by, name=value; may be given more than once")
	cmd.Flags().StringVar(&s.contentType, "content-type", "", "what the content is (default: by the name of the file; otherwise application/json)")
	return cmd
}

func (a *app) submit(ctx context.Context, s submission, args []string) error {
	name := args[0]
	labels, err := itemLabels(s.labels)
	if err != nil {
		return err
	}
	t, err := a.connect(ctx, s.env, s.out, start)
	if err != nil {
		return err
	}
	api, err := t.Get(ctx, name)
	if err != nil {
		return err
	}
	if hasJobs(api) {
		return a.submitJob(ctx, t, s, args)
	}
	if s.dryRun {
		return fault.New(fault.Usage, "cli.wrong_flag", "--dry-run is for BatchAPIs")
	}
	if api.Metadata != nil && api.Metadata.Kind != workload.Async {
		return fault.New(fault.Unsupported, "resources.operation_is_only_supported_for_kind", "%s is a %s, and work is submitted to an AsyncAPI, a BatchAPI or a TaskAPI", name, api.Metadata.Kind).
			WithHint("cortex predict makes a request")
	}
	body, length, err := a.predictBody(args[1:])
	if err != nil {
		return err
	}
	defer body.Close()
	var accepted acceptedItem
	header := http.Header{"Content-Type": {s.typeOf(args[1:])}}
	if s.key != "" {
		header.Set("Idempotency-Key", s.key)
	}
	if s.priority != "" {
		header.Set("X-Cortex-Priority", s.priority)
	}
	for name, value := range labels {
		header.Add("X-Cortex-Label", name+"="+value)
	}
	resp, err := a.atAPI(ctx, http.MethodPost, name, api.Endpoint, header, body, length)
	if err != nil {
		return err
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxRefusal)).Decode(&accepted)
	resp.Body.Close()
	if err != nil || accepted.ID == "" {
		return fault.New(fault.Unavailable, "cli.not_accepted", "%s has not answered with the id of an item", name).WithHint("is %s the endpoint of an AsyncAPI?", api.Endpoint)
	}
	switch {
	case s.wait:
		return a.awaitItem(ctx, s, name, api.Endpoint, accepted.ID)
	case s.out != pretty:
		return a.print(s.out, accepted)
	}
	a.say("%s", accepted.ID)
	return nil
}

// acceptedItem is what a submission is answered with.
type acceptedItem struct {
	ID string `json:"id"`
}

func (s submission) typeOf(args []string) string {
	byName := ""
	if len(args) > 0 {
		byName = mime.TypeByExtension(filepath.Ext(args[0]))
	}
	return cmp.Or(s.contentType, byName, "application/json")
}

// atAPI makes a request to an API, whose answer has to be a success.
func (a *app) atAPI(ctx context.Context, method, name, url string, header http.Header, body io.Reader, length int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("making a request to %s: %w", url, err)
	}
	if req.ContentLength = length; length == 0 {
		req.Body = http.NoBody
	}
	req.Header = header
	a.proveCaller(req.Header)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(name, url, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, refusal(name, resp)
	}
	return resp, nil
}

// awaitItem waits for the end of an item and prints its result.
func (a *app) awaitItem(ctx context.Context, s submission, name, endpoint, id string) error {
	var item workload.Item
	for item.Status != "completed" && item.Status != "failed" {
		resp, err := a.atAPI(ctx, http.MethodGet, name, endpoint+"/"+id+"?wait=60s", http.Header{}, nil, 0)
		if err != nil {
			return fmt.Errorf("waiting for %s, which goes on: %w", id, err)
		}
		item = workload.Item{}
		err = json.NewDecoder(resp.Body).Decode(&item)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("waiting for %s, which goes on: %w", id, err)
		}
	}
	if s.out != pretty {
		if err := a.print(s.out, item); err != nil {
			return err
		}
	}
	if item.Status == "failed" {
		why := "it is " + item.State
		if item.Reason != nil {
			why = item.Reason.Message
		}
		return fault.New(fault.Unavailable, "cli.item_failed", "%s did not succeed: %s", id, why).WithHint("see `cortex item %s %s`", name, id)
	}
	if s.out != pretty {
		return nil
	}
	resp, err := a.atAPI(ctx, http.MethodGet, name, endpoint+"/"+id+"/result", http.Header{}, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, shown := terminal(a.streams.Out); !shown {
		return writeAnswer(a.streams.Out, resp)
	}
	w := &visibleWriter{to: a.streams.Out}
	return errors.Join(writeAnswer(w, resp), w.Flush())
}
