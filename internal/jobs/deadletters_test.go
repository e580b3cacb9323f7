package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cortex.dev/cortex/internal/deadletters"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/mototest"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// letterBox is a queue in a folder: a file to which a line is added for each message.
type letterBox string

func (letterBox) Check(context.Context, string) error { return nil }

func (b letterBox) Send(_ context.Context, queue, group, id, body string, attributes map[string]string) error {
	line, err := json.Marshal([]any{queue, group, id, body, attributes})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(string(b), "letters"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
		err = errors.Join(err, f.Close())
	}
	<-time.After(5 * time.Millisecond) // a network is as slow
	return err
}

// letters are how often each was sent, by their ids.
func (b letterBox) letters(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(string(b), "letters"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	sent := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var l []any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		sent[fmt.Sprint(l[2])]++
	}
	return sent
}

// badQueue answers as its functions say, and otherwise as the box does.
type badQueue struct {
	letterBox
	check error
	mu    sync.Mutex
	tries int
	send  func(try int, id string) error
}

func (q *badQueue) Check(context.Context, string) error { return q.check }

func (q *badQueue) Send(ctx context.Context, queue, group, id, body string, attributes map[string]string) error {
	q.mu.Lock()
	q.tries++
	err := q.send(q.tries, id)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	return q.letterBox.Send(ctx, queue, group, id, body, attributes)
}

const withQueue = `{"workers": 2, "item_list": {"items": [1, -1, 2, -1, -1], "batch_size": 1}, "sqs_dead_letter_queue": {"arn": "arn:aws:sqs:us-west-2:123456789012:failed", "max_receive_count": 1}}`

// What failed for good is sent, whatever the queue does meanwhile, or the job says what was
// not; and it ends.
func TestLetters(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "away", "the queue is away")
	for name, tt := range map[string]struct {
		send    func(try int, id string) error
		sent    []string
		warning string // empty: none
	}{
		"well":             {func(int, string) error { return nil }, []string{"1", "3", "4"}, ""},
		"away for a while": {func(try int, _ string) error { return onlyIf(try <= 4, away) }, []string{"1", "3", "4"}, ""},
		"one refused": {func(_ int, id string) error {
			return onlyIf(strings.HasSuffix(id, ".3"), fault.New(fault.Invalid, "refused", "it is too large"))
		}, []string{"1", "4"}, "1 of 3 batches that failed were not sent to arn:aws:sqs:us-west-2:123456789012:failed (it is too large)"},
		"gone": {func(int, string) error { return fault.New(fault.NotFound, "missing", "the queue does not exist") }, nil, "3 of 3 batches that failed were not sent to arn:aws:sqs:us-west-2:123456789012:failed (the queue does not exist)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			q := &badQueue{letterBox: letterBox(dir), send: tt.send}
			r := startWith(t, dir, q)
			id := r.submit("batch", withQueue)
			job := r.await("batch", id, never)
			if job.Status != workload.JobWithFailures || job.Reason == nil || job.Reason.Code != "batches_failed" || job.Progress.Failed != 3 {
				t.Errorf("the job is %s (%v) with %+v", job.Status, job.Reason, job.Progress)
			}
			if tt.warning == "" && job.Warning != "" || !strings.HasPrefix(job.Warning, tt.warning) {
				t.Errorf("its warning is %q, want %q", job.Warning, tt.warning)
			}
			sent := q.letters(t)
			for _, index := range tt.sent {
				if sent[id+"."+index] != 1 {
					t.Errorf("batch %s was sent %d times", index, sent[id+"."+index])
				}
			}
			if len(sent) != len(tt.sent) {
				t.Errorf("%v were sent, want %v", sent, tt.sent)
			}
			if got := r.logged("complete"); !slices.Equal(got, []string{id}) {
				t.Errorf("the end of the job was told %q, want it once", got)
			}
		})
	}
}

func onlyIf(so bool, err error) error {
	if so {
		return err
	}
	return nil
}

// What no message can have is not sent, and is told of; the next is.
func TestALetterThatIsTooLarge(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	many := strings.Repeat("1000000,", letterBytes/8)
	id := r.submit("batch", strings.NewReplacer("[1, -1, 2, -1, -1]", "["+many+"-1,-1]", `"batch_size": 1`, fmt.Sprintf(`"batch_size": %d`, letterBytes/8+1)).Replace(withQueue))
	job := r.await("batch", id, never)
	if want := "1 of 2 batches that failed were not sent"; job.Progress.Failed != 2 || !strings.HasPrefix(job.Warning, want) || !strings.Contains(job.Warning, "more than the 1048576") {
		t.Errorf("the job ends with %+v and %q, want %q", job.Progress, job.Warning, want)
	}
	if sent := letterBox(r.dir).letters(t); len(sent) != 1 || sent[id+".1"] != 1 {
		t.Errorf("%v were sent, want the second batch", sent)
	}
}

// A queue that nothing can be sent to is said before the job is accepted.
func TestQueuesThatAreRefused(t *testing.T) {
	t.Parallel()
	for code, queues := range map[string]Queues{
		codeNoQueues: nil,
		"missing":    &badQueue{check: fault.New(fault.NotFound, "missing", "it is not there").WithHint("make it")},
		"bad":        &badQueue{check: fault.New(fault.Invalid, "bad", "it is none")},
	} {
		r := startWith(t, t.TempDir(), queues)
		_, _, err := r.s.Submit(t.Context(), "batch", []byte(withQueue), "")
		if fault.Code(err) != code || fault.Is(err, fault.NotFound) {
			t.Errorf("Submit() = %v, want %s", err, code)
		}
	}
	r := startWith(t, t.TempDir(), &badQueue{check: fault.New(fault.Unavailable, "away", "it is away")})
	if _, err := r.s.DryRun(t.Context(), "batch", []byte(withQueue)); err != nil {
		t.Errorf("a queue that is away now is refused: %v", err)
	}
}

// A stop while the queue is away leaves the letters to the next process, which does nothing
// else again.
func TestLettersOutliveAStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	away := fault.New(fault.Unavailable, "away", "the queue is away")
	q := &badQueue{letterBox: letterBox(dir), send: func(int, string) error { return away }}
	r := startWith(t, dir, q)
	id := r.submit("batch", withQueue)
	r.await("batch", id, func(j workload.Job) bool {
		return j.Reason != nil && j.Reason.Code == "batches_failed" // its end is known, and only letters are left
	})
	r.stop()
	if sent := q.letters(t); len(sent) > 0 {
		t.Fatalf("%v were sent to a queue that is away", sent)
	}
	r = start(t, dir)
	job := r.await("batch", id, never)
	if job.Status != workload.JobWithFailures || job.Warning != "" || job.Reason == nil || job.Reason.Code != "batches_failed" {
		t.Errorf("the job is %s (%v), %q", job.Status, job.Reason, job.Warning)
	}
	if sent := q.letters(t); len(sent) != 3 {
		t.Errorf("%v were sent, want 3", sent)
	}
	if got := r.logged("complete"); !slices.Equal(got, []string{id}) {
		t.Errorf("the end of the job was told %q, want it once", got)
	}
}

// Whenever it is killed, every letter is sent.
func TestLettersOutliveKills(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while")
	}
	dir := t.TempDir()
	const batches = 400
	s, _, err := system(t.Context(), dir, nil, letterBox(dir))
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := s.Submit(t.Context(), "batch", []byte(strings.Replace(withQueue, "[1, -1, 2, -1, -1]", "["+strings.TrimSuffix(strings.Repeat("-1,", batches), ",")+"]", 1)), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cfg.Records.(*bolt.Keyed).Close(); err != nil {
		t.Fatal(err)
	}
	kills := 0
	for len(letterBox(dir).letters(t)) < batches*3/4 && kills < 20 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "daemon", dir) //nolint:gosec // this program
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		before := len(letterBox(dir).letters(t))
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(10 * time.Millisecond):
				}
				if len(letterBox(dir).letters(t)) > before+rand.IntN(60) { // once some more were sent
					_ = cmd.Process.Kill()
					return
				}
			}
		}()
		said, _ := io.ReadAll(out)
		close(ended)
		_ = cmd.Wait()
		if len(said) > 0 {
			t.Fatalf("the daemon said %s", said)
		}
		kills++
	}
	r := start(t, dir)
	job := r.await("batch", id, never)
	if job.Status != workload.JobWithFailures || job.Warning != "" || job.Progress.Failed != batches {
		t.Errorf("the job is %s (%v) with %+v, %q", job.Status, job.Reason, job.Progress, job.Warning)
	}
	sent, twice := letterBox(dir).letters(t), 0
	for i := range batches {
		switch n := sent[fmt.Sprintf("%s.%d", id, i)]; {
		case n == 0:
			t.Errorf("batch %d was not sent", i)
		case n > 1:
			twice++
		}
	}
	if kills < 3 || len(sent) != batches {
		t.Errorf("%d kills and %d letters: the test proves nothing", kills, len(sent))
	}
	t.Logf("%d kills; %d letters were sent more than once", kills, twice)
}

// The independent SQS that this is held against, through the whole of a job.
func TestLettersReachMoto(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_SQS": mototest.Start(t),
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	r := startWith(t, t.TempDir(), deadletters.New())
	if _, _, err := r.s.Submit(t.Context(), "batch", []byte(withQueue), ""); fault.Code(err) != deadletters.CodeMissing {
		t.Fatalf("Submit() before there is a queue = %v, want %s", err, deadletters.CodeMissing)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-west-2"))
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg)
	queue, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("failed")})
	if err != nil {
		t.Fatal(err)
	}
	id := r.submit("batch", withQueue)
	if job := r.await("batch", id, never); job.Warning != "" || job.Progress.Failed != 3 {
		t.Errorf("the job ends with %+v, %q", job.Progress, job.Warning)
	}
	got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	var indexes []string
	for _, m := range got.Messages {
		value := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
		if aws.ToString(m.Body) != "[-1]" || value("api_name") != "batch" || value("job_id") != id || value("reason") != "upstream_500" {
			t.Errorf("the queue has %s with %v", aws.ToString(m.Body), m.MessageAttributes)
		}
		indexes = append(indexes, value("batch_index"))
	}
	if slices.Sort(indexes); !slices.Equal(indexes, []string{"1", "3", "4"}) {
		t.Errorf("the queue has batches %q", indexes)
	}
}
