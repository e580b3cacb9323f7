package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// listedJobs is how many jobs are shown unless more are asked for, and jobEvery how often a
// job that is waited for is looked at.
const (
	listedJobs = 50
	jobEvery   = 500 * time.Millisecond
)

func hasJobs(api workload.APIResponse) bool {
	return api.Metadata != nil && (api.Metadata.Kind == workload.Batch || api.Metadata.Kind == workload.Task)
}

func (a *app) jobsCommand() *cobra.Command {
	var env string
	var out output
	var q workload.JobQuery
	cmd := &cobra.Command{
		Use:   "jobs [API_NAME]",
		Short: "list the jobs of a BatchAPI or TaskAPI, or of all of them, newest first",
		Example: "  cortex jobs\n" +
			"  cortex jobs train --status running,pending",
		Args:              between(0, "API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			jobs, err := jobsOf(cmd.Context(), t, args, q)
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, jobs)
			}
			if len(jobs) == 0 {
				a.say("no jobs")
				return nil
			}
			jobTable(jobs, time.Now(), len(args) == 0).write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	words := make([]string, 0, len(workload.JobStatuses()))
	for _, s := range workload.JobStatuses() {
		words = append(words, string(s))
	}
	cmd.Flags().StringSliceVar(&q.Statuses, "status", nil, "only jobs with these statuses, with commas between them: "+strings.Join(words, "|"))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().DurationVar(&q.Since, "since", 0, "only jobs that were submitted this lately (default: all that are kept)")
	cmd.Flags().IntVar(&q.Limit, "limit", listedJobs, "how many to show of an API")
	return cmd
}

// jobsOf lists the jobs of an API or, without one, of all that have some.
func jobsOf(ctx context.Context, t *target, args []string, q workload.JobQuery) ([]workload.Job, error) {
	if len(args) == 0 {
		apis, err := t.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, api := range apis {
			if hasJobs(api) {
				args = append(args, api.Metadata.Name)
			}
		}
	}
	all := []workload.Job{}
	for _, name := range args {
		q.API = name
		jobs, err := t.Jobs(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, jobs...)
	}
	slices.SortStableFunc(all, func(x, y workload.Job) int { return y.StartTime.Compare(x.StartTime) })
	return all, nil
}

func jobTable(jobs []workload.Job, now time.Time, withAPI bool) table {
	t := table{headers: []string{"api", "job id", "status", "progress", "start time", "duration"}}
	for _, j := range jobs {
		end := now
		if j.EndTime != nil {
			end = *j.EndTime
		}
		t.rows = append(t.rows, []string{
			j.APIName, j.JobID, string(j.Status), orElse(jobProgress(j), "-"), j.StartTime.Local().Format(timeFormat), end.Sub(j.StartTime).Round(time.Second).String(),
		})
	}
	if !withAPI {
		t = t.without("api")
	}
	return t
}

// jobProgress is how far a job of batches is, in a few words.
func jobProgress(j workload.Job) string {
	p := j.Progress
	if p == nil {
		return ""
	}
	text := fmt.Sprintf("%d/%d", p.Succeeded+p.Failed, p.Total)
	if p.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Failed)
	}
	if j.Status.InProgress() && p.Estimate != "" {
		text += ", " + p.Estimate + " left"
	}
	return text
}

// getJob shows one job.
func (a *app) getJob(ctx context.Context, w io.Writer, t *target, out output, name, id string) error {
	r, err := t.Job(ctx, name, id)
	if err != nil {
		return err
	}
	if out != pretty {
		return a.printTo(w, out, r)
	}
	a.describeJob(w, r)
	return nil
}

func (a *app) describeJob(w io.Writer, r workload.JobResponse) {
	j := r.JobStatus
	fmt.Fprintf(w, "%s: %s\n", j.JobID, j.Status)
	if j.Reason != nil {
		fmt.Fprintf(w, "reason: %s: %s\n", j.Reason.Code, j.Reason.Message)
	}
	if j.Warning != "" {
		fmt.Fprintf(w, "warning: %s\n", j.Warning)
	}
	if j.Parent != "" {
		fmt.Fprintf(w, "tries again what is left of %s\n", j.Parent)
	}
	fmt.Fprintf(w, "submitted %s\n", j.StartTime.Local().Format(timeFormat))
	if j.EndTime != nil {
		fmt.Fprintf(w, "ended %s\n", j.EndTime.Local().Format(timeFormat))
	}
	if c := j.WorkerCounts; c != nil {
		fmt.Fprintf(w, "workers: %d ready, %d on their way\n", c.Ready, c.Creating+c.Pending)
	}
	if p := j.Progress; p != nil {
		fmt.Fprintf(w, "batches: %d, of which %d succeeded, %d failed, %d are worked on, %d wait\n", p.Total, p.Succeeded, p.Failed, p.Running, p.Queued)
		if j.Status.InProgress() && p.Estimate != "" {
			fmt.Fprintf(w, "rate: %.0f in a minute; the rest takes about %s\n", p.PerMinute, p.Estimate)
		}
	}
	if m := r.Metrics; m != nil && m.AverageTimePerBatch > 0 {
		fmt.Fprintf(w, "average time of a batch: %s\n", time.Duration(m.AverageTimePerBatch*float64(time.Second)).Round(time.Millisecond))
	}
	if len(j.Result) > 0 {
		fmt.Fprintf(w, "result: %s\n", strings.TrimSpace(string(j.Result)))
	}
	if len(j.Attempts) == 0 {
		return
	}
	t := table{headers: []string{"run", "began", "took", "outcome", "exit code", "reason"}}
	for _, e := range j.Attempts {
		code, reason := "-", "-"
		if e.ExitCode != nil {
			code = fmt.Sprint(*e.ExitCode)
		}
		if e.Reason != nil {
			reason = e.Reason.Message
		}
		t.rows = append(t.rows, []string{fmt.Sprint(e.N), e.StartedAt.Local().Format(timeFormat), orElse(e.Duration, "-"), orElse(e.Outcome, "running"), code, reason})
	}
	fmt.Fprintln(w)
	t.write(w, a.paint)
}

// submitJob submits a job to a BatchAPI or TaskAPI.
func (a *app) submitJob(ctx context.Context, t *target, s submission, args []string) error {
	if s.key != "" || s.contentType != "" {
		return fault.New(fault.Usage, "cli.wrong_flag", "--key and --content-type are for AsyncAPIs, and %s has jobs", args[0])
	}
	var text []byte
	if _, typed := terminal(a.streams.In); len(args) > 1 || !typed {
		body, _, err := a.predictBody(args[1:])
		if err != nil {
			return err
		}
		defer body.Close()
		if text, err = io.ReadAll(io.LimitReader(body, maxJobBytes+1)); err != nil {
			return fault.New(fault.Unavailable, "cli.unreadable_file", "reading the job: %w", err)
		}
		if len(text) > maxJobBytes {
			return fault.New(fault.Invalid, "configreader.too_long", "the job has more than the %d bytes that it may have", maxJobBytes).
				WithHint("put its items into files: file_path_lister, delimited_files")
		}
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		text = []byte("{}") // a task needs nothing
	}
	job, err := rawJob(text)
	if err != nil {
		return err
	}
	r, err := t.SubmitJob(ctx, args[0], workload.JobRequest{Job: job, DryRun: s.dryRun})
	if err != nil {
		return err
	}
	if r.Job != nil && r.Job.Warning != "" {
		a.note("%s", r.Job.Warning)
	}
	switch {
	case s.dryRun && s.out != pretty:
		return a.print(s.out, r)
	case s.dryRun:
		for _, f := range r.Files {
			a.say("%s", f)
		}
		a.say("validations passed")
		return nil
	}
	return a.afterSubmit(ctx, t, s.out, s.wait, r)
}

// maxJobBytes is the longest submission.
const maxJobBytes = 10 << 20

// afterSubmit says which job it is, or waits for its end.
func (a *app) afterSubmit(ctx context.Context, t *target, out output, wait bool, r workload.JobSubmitted) error {
	if r.Job == nil {
		return fault.New(fault.Unexpected, "errors.unexpected", "the environment has not said which job it is")
	}
	switch {
	case wait:
		return a.awaitJob(ctx, t, out, r.Job.APIName, r.Job.JobID)
	case out != pretty:
		return a.print(out, r)
	}
	a.say("%s", r.Job.JobID)
	return nil
}

// awaitJob waits for the end of a job, and shows how far it is.
func (a *app) awaitJob(ctx context.Context, t *target, out output, name, id string) error {
	_, live := terminal(a.streams.Out)
	b := board{out: a.streams.Out, on: live && out == pretty}
	var r workload.JobResponse
	for {
		var err error
		if r, err = t.Job(ctx, name, id); err != nil {
			return fmt.Errorf("waiting for %s, which goes on: %w", id, err)
		}
		if !r.JobStatus.Status.InProgress() {
			break
		}
		if b.on {
			b.draw([]string{fmt.Sprintf("%s: %s %s", id, r.JobStatus.Status, jobProgress(r.JobStatus))})
		}
		timer := time.NewTimer(jobEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	b.end()
	if out != pretty {
		if err := a.print(out, r); err != nil {
			return err
		}
	} else {
		a.describeJob(a.streams.Out, r)
	}
	if s := r.JobStatus; s.Status != workload.JobSucceeded {
		return fault.New(fault.Unavailable, "cli.job_failed", "the job %s ended as %s", id, s.Status).WithHint("see `cortex logs %s %s`", name, id)
	}
	return nil
}

func (a *app) resultsCommand() *cobra.Command {
	var env string
	var out output
	q := workload.JobLinesQuery{}
	batch := 0
	cmd := &cobra.Command{
		Use:   "results API_NAME JOB_ID",
		Short: "print what the batches of a job were answered with, or why they failed",
		Long: "Print a line of JSON for each batch of a job that was answered with a body, or, with\n" +
			"--errors, for each that failed. An answer of more than 1 MiB is not in its line, which has\n" +
			"a body_file instead: --batch prints it as it is.",
		Example: "  cortex results classify 019b4c2f0a1d3c > results.jsonl\n" +
			"  cortex results classify 019b4c2f0a1d3c --errors\n" +
			"  cortex results classify 019b4c2f0a1d3c --batch 3 > answer",
		Args:              exactly("API_NAME", "JOB_ID"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(exclusive(cmd, "errors", "batch"), exclusive(cmd, "output", "batch")); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			q.API, q.Job = args[0], args[1]
			if cmd.Flags().Changed("batch") {
				return t.JobAnswer(cmd.Context(), workload.JobAnswerQuery{API: q.API, Job: q.Job, Batch: batch}, func(p workload.JobPart) error {
					_, err := a.streams.Out.Write(p.Data)
					return err
				})
			}
			return t.JobLines(cmd.Context(), q, func(l workload.JobLine) error {
				if out == pretty {
					return a.printLine(jsonOut, l)
				}
				return a.printLine(out, l)
			})
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	cmd.Flags().BoolVar(&q.Errors, "errors", false, "of the batches that failed, and why")
	cmd.Flags().IntVar(&batch, "batch", 0, "what this batch was answered with, where its line has a body_file")
	return cmd
}

// rawJob is a submission as part of a request, if it is JSON.
func rawJob(text []byte) (job []byte, err error) {
	if !json.Valid(text) {
		return nil, fault.New(fault.Malformed, "configreader.malformed", "the job is not valid JSON").WithHint("a job is a JSON object: see docs/batch.md and docs/tasks.md")
	}
	return text, nil
}

// retryJobs submits jobs for what is left of others.
func (a *app) retryJobs(ctx context.Context, t *target, out output, name string, ids []string, onlyFailed bool) error {
	if len(ids) != 1 {
		return fault.New(fault.Usage, "cli.wrong_arguments", "one JOB_ID is needed: %s has jobs", name)
	}
	r, err := t.RetryJob(ctx, name, ids[0], onlyFailed)
	if err != nil {
		return err
	}
	return a.afterSubmit(ctx, t, out, false, r)
}
