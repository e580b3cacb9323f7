package deadletters

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/mototest"
)

// identity gives the program an AWS identity that SQS is asked with, at an endpoint.
func identity(t *testing.T, endpoint string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_SQS": endpoint,
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

const queues = "arn:aws:sqs:eu-west-1:123456789012:"

// The independent SQS that this is held against.
func TestSendsToMoto(t *testing.T) {
	identity(t, mototest.Start(t))
	ctx := t.Context()
	s := New()
	client, err := s.client(ctx, "eu-west-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"failed", "failed.fifo"} {
		if err := s.Check(ctx, queues+name); fault.Code(err) != CodeMissing {
			t.Errorf("Check(%s) before it is made = %v, want %s", name, err, CodeMissing)
		}
		in := &sqs.CreateQueueInput{QueueName: &name}
		if strings.HasSuffix(name, ".fifo") {
			in.Attributes = map[string]string{"FifoQueue": "true"}
		}
		queue, err := client.CreateQueue(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(ctx, queues+name); err != nil {
			t.Fatalf("Check(%s) = %v", name, err)
		}
		for range 2 { // the second one is the same, which a queue of the second kind drops
			if err := s.Send(ctx, queues+name, "job", "job.3", `[1, "ü"]`, map[string]string{"api_name": "classify", "job_id": "j1"}); err != nil {
				t.Fatalf("Send(%s) = %v", name, err)
			}
		}
		got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
		if err != nil {
			t.Fatal(err)
		}
		want := 2
		if in.Attributes != nil {
			want = 1
		}
		if len(got.Messages) != want {
			t.Fatalf("%s has %d messages, want %d", name, len(got.Messages), want)
		}
		m := got.Messages[0]
		if aws.ToString(m.Body) != `[1, "ü"]` || aws.ToString(m.MessageAttributes["api_name"].StringValue) != "classify" || aws.ToString(m.MessageAttributes["job_id"].StringValue) != "j1" {
			t.Errorf("%s has %s with %v", name, aws.ToString(m.Body), m.MessageAttributes)
		}
	}
	if err := s.Send(ctx, queues+"failed", "job", "job.4", strings.Repeat("x", 2<<20), nil); fault.Code(err) != CodeRefused || !fault.Is(err, fault.Invalid) {
		t.Errorf("Send() of 2 MB = %v, want %s", err, CodeRefused)
	}
	name := "failed"
	address, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: address.QueueUrl}); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(ctx, queues+"failed", "job", "job.5", "x", nil); fault.Code(err) != CodeMissing {
		t.Errorf("Send() to a queue that was deleted = %v, want %s", err, CodeMissing)
	}
}

func TestWhatIsRefused(t *testing.T) {
	identity(t, "http://127.0.0.1:1")
	for queue, code := range map[string]string{
		"failed":                    CodeBadARN,
		"arn:aws:s3:::bucket":       CodeBadARN,
		"arn:aws:sqs:::failed":      CodeBadARN,
		queues + "cx-0123456789-00": CodeOurs,
		queues + "failed":           CodeAway,
	} {
		if err := New().Check(t.Context(), queue); fault.Code(err) != code {
			t.Errorf("Check(%s) = %v, want %s", queue, err, code)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if err := New().Check(t.Context(), queues+"failed"); fault.Code(err) != CodeNoKeys {
		t.Errorf("Check() without credentials = %v, want %s", err, CodeNoKeys)
	}
}
