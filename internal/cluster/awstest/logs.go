package awstest

import (
	"strings"
	"time"
)

// logsState is what CloudWatch Logs knows.
type logsState struct {
	groups map[string]*logGroup
}

type logGroup struct {
	name      string
	tags      map[string]string
	retention int
	created   time.Time
}

// onLogGroup is the ARN of a log group: without :* for calls about its tags, with it for
// all others.
func onLogGroup(suffix string) func(c *call) []string {
	return func(c *call) []string { return []string{c.arn("logs", "log-group:"+c.in.text("logGroupName")+suffix)} }
}

var logsService = &service{
	name: "logs", target: "Logs_20140328", protocol: jsonTarget{"1.1"}, errors: wordsJSON,
	operations: []operation{
		{name: "CreateLogGroup", do: createLogGroup, on: onLogGroup("")},
		{name: "DeleteLogGroup", do: deleteLogGroup, on: onLogGroup(":*")},
		{name: "PutRetentionPolicy", do: putRetention, on: onLogGroup(":*")},
		{name: "TagLogGroup", do: tagLogGroup, on: onLogGroup("")},
		{name: "ListTagsLogGroup", do: listLogTags, on: onLogGroup("")},
		{name: "DescribeLogStreams", do: describeLogStreams, on: onLogGroup(":*")},
		{name: "DescribeLogGroups", do: describeLogGroups, on: func(c *call) []string { return []string{c.arn("logs", "log-group:*")} }},
	},
}

// AddLogGroup has a log group be there, such as EKS makes for a control plane's logs.
func (a *Account) AddLogGroup(name string) {
	defer a.locked()()
	a.logs.groups[name] = &logGroup{name: name, tags: map[string]string{}, created: a.clock.now}
}

func (c *call) logGroup() (*logGroup, error) {
	g := c.logs.groups[c.in.text("logGroupName")]
	if g == nil {
		return nil, refuse("ResourceNotFoundException", "The specified log group does not exist.")
	}
	return g, nil
}

func createLogGroup(c *call) (object, error) {
	name := c.in.text("logGroupName")
	tags := c.in.tagMap("tags")
	if len(tags) > 0 { // AWS asks for either of two permissions
		arn := onLogGroup("")(c)[0]
		if err := c.permitted(c.who, "logs:TagLogGroup", arn, nil); err != nil && c.permitted(c.who, "logs:TagResource", arn, nil) != nil {
			return nil, c.denied(err)
		}
	}
	if c.logs.groups[name] != nil {
		return nil, refuse("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	c.logs.groups[name] = &logGroup{name: name, tags: tags, created: c.clock.now}
	c.made["log-group"]++
	return nil, nil
}

func deleteLogGroup(c *call) (object, error) {
	g, err := c.logGroup()
	if err != nil {
		return nil, err
	}
	delete(c.logs.groups, g.name)
	return nil, nil
}

func putRetention(c *call) (object, error) {
	g, err := c.logGroup()
	if err != nil {
		return nil, err
	}
	g.retention = c.in.number("retentionInDays", 0)
	return nil, nil
}

func tagLogGroup(c *call) (object, error) {
	g, err := c.logGroup()
	if err != nil {
		return nil, err
	}
	for k, v := range c.in.tagMap("tags") {
		g.tags[k] = v
	}
	return nil, nil
}

func listLogTags(c *call) (object, error) {
	g, err := c.logGroup()
	if err != nil {
		return nil, err
	}
	return object{"tags": textMap(g.tags)}, nil
}

func describeLogStreams(c *call) (object, error) {
	c.in.ignore("limit", "orderBy", "descending", "nextToken", "logStreamNamePrefix")
	if _, err := c.logGroup(); err != nil {
		return nil, err
	}
	return object{"logStreams": []any{}}, nil
}

func describeLogGroups(c *call) (object, error) {
	prefix := c.in.text("logGroupNamePrefix")
	var list []any
	for _, name := range sorted(c.logs.groups) {
		if strings.HasPrefix(name, prefix) {
			g := c.logs.groups[name]
			o := object{"logGroupName": name, "arn": c.arn("logs", "log-group:"+name+":*"), "creationTime": g.created.UnixMilli(), "storedBytes": 0}
			if g.retention > 0 {
				o["retentionInDays"] = g.retention
			}
			list = append(list, o)
		}
	}
	part, next, err := c.page(list, "nextToken", "limit")
	if err != nil {
		return nil, err
	}
	out := object{"logGroups": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}
