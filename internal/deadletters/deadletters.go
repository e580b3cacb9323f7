// Package deadletters sends messages to queues of Amazon SQS that users name.
//
// It promises that a queue of any region and account is reached, by the AWS identity of this
// program; that what may come right by itself is a fault.Unavailable, what is wrong with the
// queue or the identity a fault.NotFound, and what is wrong with one message a fault.Invalid.
// It must not know what the messages are about.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"cortex.dev/cortex/internal/fault"
)

// Codes of what whoever names a queue is told.
const (
	CodeBadARN  = "deadletters.bad_arn"
	CodeOurs    = "deadletters.own_queue"
	CodeNoKeys  = "deadletters.no_credentials"
	CodeMissing = "deadletters.not_found"
	CodeDenied  = "deadletters.access_denied"
	CodeRefused = "deadletters.refused"
	CodeAway    = "deadletters.unavailable"
)

// ownQueues begin the names of queues that Cortex keeps items by: a cluster's program may
// send to them, and whoever submits a job must not.
const ownQueues = "cx-"

// SQS sends with the credentials of this program, found as the AWS SDKs find them. All methods
// may be called at once.
type SQS struct {
	mu        sync.Mutex
	base      *aws.Config // nil: it was not needed yet
	clients   map[string]*sqs.Client
	addresses map[string]string // of queues, by their ARNs
}

// maxAddresses bounds how many queues are remembered.
const maxAddresses = 1000

// New returns a sender.
func New() *SQS { return &SQS{clients: map[string]*sqs.Client{}, addresses: map[string]string{}} }

// parse reads the ARN of a queue.
func parse(text string) (arn.ARN, error) {
	a, err := arn.Parse(text)
	if err != nil || a.Service != "sqs" || a.Region == "" || a.AccountID == "" || a.Resource == "" {
		return a, fault.New(fault.Invalid, CodeBadARN, "%q is not the ARN of a queue", text).
			WithHint("such as arn:aws:sqs:us-west-2:123456789012:failed")
	}
	if strings.HasPrefix(a.Resource, ownQueues) {
		return a, fault.New(fault.Invalid, CodeOurs, "the name of the queue %s begins with %s, as those of Cortex itself do", text, ownQueues).
			WithHint("name a queue of your own")
	}
	return a, nil
}

func (s *SQS) client(ctx context.Context, region string) (*sqs.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == nil {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fault.New(fault.NotFound, CodeNoKeys, "the AWS configuration of this program cannot be read: %w", err)
		}
		s.base = &cfg
	}
	if s.clients[region] == nil {
		s.clients[region] = sqs.NewFromConfig(*s.base, func(o *sqs.Options) { o.Region = region })
	}
	return s.clients[region], nil
}

// findWithin is how long AWS has to say where a queue is.
const findWithin = 15 * time.Second

// Check says why nothing can be sent to a queue.
func (s *SQS) Check(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	_, _, err := s.find(ctx, queue)
	return err
}

// find returns the address of a queue, and who sends there.
func (s *SQS) find(ctx context.Context, queue string) (*sqs.Client, string, error) {
	a, err := parse(queue)
	if err != nil {
		return nil, "", err
	}
	client, err := s.client(ctx, a.Region)
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	address := s.addresses[queue]
	s.mu.Unlock()
	if address != "" {
		return client, address, nil
	}
	out, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &a.Resource, QueueOwnerAWSAccountId: &a.AccountID})
	switch {
	case err == nil:
		address = aws.ToString(out.QueueUrl)
	case status(err) == http.StatusForbidden && !missing(err): // who may send need not have the right to ask where to
		address = fmt.Sprintf("https://sqs.%s.amazonaws.com/%s/%s", a.Region, a.AccountID, a.Resource)
		if a.Partition == "aws-cn" {
			address = strings.Replace(address, ".com/", ".com.cn/", 1)
		}
	default:
		return nil, "", explain(queue, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.addresses) >= maxAddresses {
		clear(s.addresses)
	}
	s.addresses[queue] = address
	return client, address, nil
}

// Send sends a message. It is in the queue when nil is returned, and may be there otherwise.
// A queue whose name ends with .fifo keeps the order of those of a group, and drops one whose
// id it has had lately.
func (s *SQS) Send(ctx context.Context, queue, group, id, body string, attributes map[string]string) error {
	client, address, err := s.find(ctx, queue)
	if err != nil {
		return err
	}
	in := &sqs.SendMessageInput{QueueUrl: &address, MessageBody: &body, MessageAttributes: map[string]types.MessageAttributeValue{}}
	for name, value := range attributes {
		in.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	if strings.HasSuffix(queue, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = &group, &id
	}
	if _, err = client.SendMessage(ctx, in); err == nil {
		return nil
	}
	if missing(err) {
		s.mu.Lock()
		delete(s.addresses, queue) // it may come back elsewhere
		s.mu.Unlock()
	}
	return explain(queue, err)
}

func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func missing(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(api.ErrorCode()+" "+api.ErrorMessage(), "NonExistentQueue") || errors.As(err, new(*types.QueueDoesNotExist))
}

// explain says what is wrong with a queue, or a message.
func explain(queue string, err error) error {
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch {
	case missing(err):
		return fault.New(fault.NotFound, CodeMissing, "the queue %s does not exist", queue)
	case strings.Contains(code, "Throttl"): // with 400, or 403
	case status(err) == http.StatusForbidden, status(err) == http.StatusUnauthorized, strings.HasPrefix(code, "AccessDenied"):
		return fault.New(fault.NotFound, CodeDenied, "this program may not send to %s: %w", queue, brief(err)).
			WithHint("its AWS identity needs sqs:SendMessage of that queue, and sqs:GetQueueUrl")
	case status(err) == 0 && strings.Contains(err.Error(), "credentials"):
		return fault.New(fault.NotFound, CodeNoKeys, "nothing can be sent to %s without AWS credentials: %w", queue, brief(err)).
			WithHint("give this program some as for any AWS SDK: variables, a profile, or the role of its machine or pod; or leave sqs_dead_letter_queue out: batches that failed stay with the job")
	case status(err) >= 400 && status(err) < 500 && status(err) != http.StatusTooManyRequests:
		return fault.New(fault.Invalid, CodeRefused, "SQS refuses a message for %s: %w", queue, brief(err))
	}
	return fault.New(fault.Unavailable, CodeAway, "%s cannot be reached now: %w", queue, brief(err))
}

// brief leaves out what the SDK says around the words of SQS.
func brief(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err
}
