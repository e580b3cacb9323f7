package awstest

import (
	"strconv"
	"strings"
)

// sqsState is what SQS knows.
type sqsState struct {
	queues map[string]*queue // by name
}

type queue struct {
	name, url  string
	tags       map[string]string
	attributes object
}

func onQueue(c *call) []string {
	name := c.in.text("QueueName")
	if url := c.in.text("QueueUrl"); url != "" {
		name = url[strings.LastIndex(url, "/")+1:]
	}
	return []string{c.arn("sqs", name)}
}

var sqsService = &service{
	name: "sqs", target: "AmazonSQS", protocol: jsonTarget{"1.0"}, errors: wordsJSON,
	operations: []operation{
		{name: "CreateQueue", do: createQueue, on: onQueue},
		{name: "ListQueues", do: listQueues},
		{name: "GetQueueUrl", do: getQueueURL, on: onQueue},
		{name: "GetQueueAttributes", do: getQueueAttributes, on: onQueue},
		{name: "ListQueueTags", do: listQueueTags, on: onQueue},
		{name: "DeleteQueue", do: deleteQueue, on: onQueue},
	},
}

func (c *call) queue() (*queue, error) {
	name := c.in.text("QueueName")
	if url := c.in.text("QueueUrl"); url != "" {
		name = url[strings.LastIndex(url, "/")+1:]
	}
	q := c.sqs.queues[name]
	if q == nil {
		return nil, refuse("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
	}
	return q, nil
}

func createQueue(c *call) (object, error) {
	name := c.in.text("QueueName")
	q := c.sqs.queues[name]
	if q == nil {
		q = &queue{name: name, url: "https://sqs." + c.region + "." + c.suffix + "/" + c.id + "/" + name}
		c.sqs.queues[name] = q
		c.made["queue"]++
	}
	q.tags = c.in.tagMap("tags")
	q.attributes, _ = c.in.whole("Attributes").(object)
	return object{"QueueUrl": q.url}, nil
}

func listQueues(c *call) (object, error) {
	prefix := c.in.text("QueueNamePrefix")
	var list []any
	for _, name := range sorted(c.sqs.queues) {
		if strings.HasPrefix(name, prefix) {
			list = append(list, c.sqs.queues[name].url)
		}
	}
	part, next, err := c.page(list, "NextToken", "MaxResults")
	if err != nil {
		return nil, err
	}
	out := object{"QueueUrls": append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}

func getQueueURL(c *call) (object, error) {
	q, err := c.queue()
	if err != nil {
		return nil, err
	}
	return object{"QueueUrl": q.url}, nil
}

func getQueueAttributes(c *call) (object, error) {
	q, err := c.queue()
	if err != nil {
		return nil, err
	}
	c.in.ignore("AttributeNames")
	o := object{"QueueArn": c.arn("sqs", q.name), "ApproximateNumberOfMessages": "0", "CreatedTimestamp": strconv.FormatInt(c.clock.now.Unix(), 10)}
	for k, v := range q.attributes {
		o[k] = v
	}
	return object{"Attributes": o}, nil
}

func listQueueTags(c *call) (object, error) {
	q, err := c.queue()
	if err != nil {
		return nil, err
	}
	return object{"Tags": textMap(q.tags)}, nil
}

func deleteQueue(c *call) (object, error) {
	q, err := c.queue()
	if err != nil {
		return nil, err
	}
	delete(c.sqs.queues, q.name)
	return nil, nil
}
