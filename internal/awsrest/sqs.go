package awsrest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// MaxMessage is how many bytes a message may have: what SQS took before it took more.
const MaxMessage = 256 << 10

// NoQueue reports whether err says that a queue is not there.
func NoQueue(err error) bool {
	code := Code(err)
	return code == "QueueDoesNotExist" || code == "AWS.SimpleQueueService.NonExistentQueue"
}

// sqs makes one call.
func (c *Client) sqs(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	at := c.cfg.SQS
	if at == "" {
		at = endpoint("sqs", c.cfg.Region)
	}
	_, data, err := c.call(ctx, asked{service: "sqs", method: http.MethodPost, at: at, path: "/", body: body, header: map[string]string{
		"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS." + action,
	}})
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer of SQS cannot be read: %w", err)
	}
	return nil
}

// CreateQueue returns the address of a queue, which it makes unless it is there. What nobody
// has fetched after kept is dropped; what was fetched comes again after hidden, unless it is
// deleted.
func (c *Client) CreateQueue(ctx context.Context, name string, kept, hidden time.Duration) (address string, _ error) {
	var out struct {
		QueueURL string `json:"QueueUrl"`
	}
	err := c.sqs(ctx, "CreateQueue", map[string]any{"QueueName": name, "Attributes": map[string]string{
		"MessageRetentionPeriod": seconds(kept), "VisibilityTimeout": seconds(hidden),
	}}, &out)
	return out.QueueURL, err
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// DeleteQueue removes a queue; one that is not there is no error.
func (c *Client) DeleteQueue(ctx context.Context, address string) error {
	err := c.sqs(ctx, "DeleteQueue", map[string]any{"QueueUrl": address}, nil)
	if NoQueue(err) {
		return nil
	}
	return err
}

// Send puts a message into a queue.
func (c *Client) Send(ctx context.Context, address, body string) error {
	return c.sqs(ctx, "SendMessage", map[string]any{"QueueUrl": address, "MessageBody": body}, nil)
}

// Message is one that was fetched.
type Message struct {
	Body   string
	Handle string `json:"ReceiptHandle"`
}

// Receive fetches at most ten messages, and waits for the first at most so long.
func (c *Client) Receive(ctx context.Context, address string, wait time.Duration) ([]Message, error) {
	var out struct{ Messages []Message }
	err := c.sqs(ctx, "ReceiveMessage", map[string]any{"QueueUrl": address, "MaxNumberOfMessages": 10, "WaitTimeSeconds": int(wait / time.Second)}, &out)
	return out.Messages, err
}

// DeleteMessages drops what was fetched.
func (c *Client) DeleteMessages(ctx context.Context, address string, messages []Message) error {
	var entries []map[string]string
	for n, m := range messages {
		entries = append(entries, map[string]string{"Id": strconv.Itoa(n), "ReceiptHandle": m.Handle})
	}
	return c.sqs(ctx, "DeleteMessageBatch", map[string]any{"QueueUrl": address, "Entries": entries}, nil)
}
