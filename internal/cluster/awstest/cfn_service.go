package awstest

import (
	"regexp"
	"slices"
	"strings"
)

// onStack is the ARN of a stack, which policies may name without its id.
func onStack(c *call) []string {
	name := c.in.text("StackName")
	if s := c.stackNamed(name); s != nil {
		return []string{s.id}
	}
	if strings.HasPrefix(name, "arn:") {
		return []string{name}
	}
	return []string{c.arn("cloudformation", "stack/"+name+"/*")}
}

var cloudformationService = &service{
	name: "cloudformation", version: "2010-05-15", namespace: "http://cloudformation.amazonaws.com/doc/2010-05-15/", protocol: query{}, errors: wordsQuery,
	operations: []operation{
		{name: "CreateStack", do: createStack, on: onStack},
		{name: "UpdateStack", do: updateStack, on: onStack},
		{name: "DeleteStack", do: deleteStack, on: onStack},
		{name: "DescribeStacks", do: describeStacks, on: onStack},
		{name: "ListStacks", do: listStacks},
		{name: "DescribeStackEvents", do: describeStackEvents, on: onStack},
		{name: "DescribeStackResources", do: describeStackResources, on: onStack},
		{name: "DescribeStackResource", do: describeStackResource, on: onStack},
		{name: "ListStackResources", do: listStackResources, on: onStack},
		{name: "GetTemplate", do: getTemplate, on: onStack},
		{name: "ValidateTemplate", do: validateTemplate},
		{name: "UpdateTerminationProtection", do: updateProtection, on: onStack},
		{name: "ContinueUpdateRollback", do: continueRollback, on: onStack},
		{name: "CreateChangeSet", do: createChangeSet, on: onStack},
		{name: "DescribeChangeSet", do: describeChangeSet, on: onStack},
		{name: "ExecuteChangeSet", do: executeChangeSet, on: onStack},
		{name: "DeleteChangeSet", do: deleteChangeSet, on: onStack},
		{name: "ListChangeSets", do: listChangeSets, on: onStack},
		{name: "DetectStackDrift", do: detectDrift, on: onStack},
		{name: "DescribeStackDriftDetectionStatus", do: describeDriftDetection},
		{name: "DescribeStackResourceDrifts", do: describeResourceDrifts, on: onStack},
	},
}

// template reads the template of a request, or that of the stack.
func (c *call) template(s *stack) (*template, string, error) {
	if c.in.flag("UsePreviousTemplate") && s != nil {
		return s.template, s.body, nil
	}
	body := c.in.text("TemplateBody")
	if body == "" {
		return nil, "", invalid("Either Template URL or Template Body must be specified.")
	}
	t, err := parseTemplate(body)
	return t, body, err
}

// stackParameters are those of a request; some may be as they were.
func (c *call) stackParameters(s *stack, t *template) (map[string]string, error) {
	given := map[string]string{}
	for _, p := range c.in.objects("Parameters") {
		name := p.text("ParameterKey")
		value := p.text("ParameterValue")
		if p.flag("UsePreviousValue") {
			if s == nil {
				return nil, invalid("Invalid input for parameter key %s. Cannot specify usePreviousValue as true for a parameter key not in the previous template", name)
			}
			value = s.params[name]
		}
		given[name] = value
	}
	return t.values(c.Account, given)
}

// stackTags are those of a request, or the ones that the stack has.
func (c *call) stackTags(s *stack) map[string]string {
	if !c.in.has("Tags") && s != nil {
		return s.tags
	}
	return c.in.tags("Tags")
}

func (c *call) newStack() *stack {
	s := &stack{
		a: c.Account, name: c.in.text("StackName"), created: c.clock.now, who: c.who, resources: map[string]*stackResource{}, token: c.in.text("ClientRequestToken"),
	}
	s.id = c.arn("cloudformation", "stack/"+s.name+"/"+c.uuid())
	c.cfn.stacks = append(c.cfn.stacks, s)
	c.made["stack"]++
	return s
}

var stackShape = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]{0,127}$`)

func createStack(c *call) (object, error) {
	name, token := c.in.text("StackName"), c.in.text("ClientRequestToken")
	if !stackShape.MatchString(name) {
		return nil, invalid("1 validation error detected: Value '%s' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*", name)
	}
	old := c.stackNamed(name)
	if old != nil && old.status != "REVIEW_IN_PROGRESS" {
		if token != "" && old.token == token && old.status == "CREATE_IN_PROGRESS" {
			c.in.ignoreAll()
			return object{"StackId": old.id}, nil
		}
		return nil, refuse("AlreadyExistsException", "Stack [%s] already exists", name)
	}
	c.in.ignore("Capabilities")
	t, body, err := c.template(nil)
	if err != nil {
		return nil, err
	}
	params, err := c.stackParameters(nil, t)
	if err != nil {
		return nil, err
	}
	if onFailure := c.in.text("OnFailure"); onFailure != "" && onFailure != "ROLLBACK" && onFailure != "DO_NOTHING" {
		return nil, notSimulated("OnFailure %s", onFailure)
	}
	s := old // which only change sets know yet
	if s == nil {
		s = c.newStack()
	}
	s.outdate(nil)
	s.template, s.body, s.params, s.tags, s.token, s.who = t, body, params, c.in.tags("Tags"), token, c.who
	s.keepFailed = c.in.flag("DisableRollback") || c.in.text("OnFailure") == "DO_NOTHING"
	s.protected = c.in.flag("EnableTerminationProtection")
	s.create()
	return object{"StackId": s.id}, nil
}

// updatable reports why a stack cannot be updated now.
func (s *stack) updatable() error {
	if slices.Contains([]string{"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED"}, s.status) || s.status == "CREATE_FAILED" && s.keepFailed {
		return nil
	}
	return invalid("Stack:%s is in %s state and can not be updated.", s.id, s.status)
}

func updateStack(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, invalid("Stack [%s] does not exist", c.in.text("StackName"))
	}
	if token := c.in.text("ClientRequestToken"); token != "" && token == s.token && s.busy() {
		c.in.ignoreAll()
		return object{"StackId": s.id}, nil
	}
	if err := s.updatable(); err != nil {
		return nil, err
	}
	c.in.ignore("Capabilities")
	t, body, err := c.template(s)
	if err != nil {
		return nil, err
	}
	params, err := c.stackParameters(s, t)
	if err != nil {
		return nil, err
	}
	tags := c.stackTags(s)
	if len(s.preview(t, params, tags)) == 0 {
		return nil, invalid("No updates are to be performed.")
	}
	s.token, s.who, s.keepFailed = c.in.text("ClientRequestToken"), c.who, c.in.flag("DisableRollback")
	s.outdate(nil)
	s.update(t, body, params, tags)
	return object{"StackId": s.id}, nil
}

func deleteStack(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, nil // there is nothing to be deleted, and it is not said
	}
	retain := c.in.texts("RetainResources")
	token := c.in.text("ClientRequestToken")
	switch {
	case s.protected:
		return nil, invalid("Stack [%s] cannot be deleted while TerminationProtection is enabled", s.name)
	case len(retain) > 0 && s.status != "DELETE_FAILED":
		return nil, invalid("Invalid operation on stack [%s]. RetainResources is only supported in DELETE_FAILED state", s.id)
	case s.status == "DELETE_COMPLETE" || s.status == "DELETE_IN_PROGRESS":
		return nil, nil
	case s.busy() && s.status != "CREATE_IN_PROGRESS":
		return nil, invalid("Stack [%s] cannot be deleted while in status %s", s.id, s.status)
	}
	for _, name := range retain {
		if s.resources[name] == nil {
			return nil, invalid("The specified resources to retain must be in a valid state: %s", name)
		}
	}
	s.token, s.who = token, c.who
	s.delete(retain)
	return nil, nil
}

func describeStacks(c *call) (object, error) {
	var list []any
	if c.in.text("StackName") != "" {
		s, err := c.stack()
		if err != nil {
			return nil, err
		}
		list = []any{s.view()}
	} else {
		for _, s := range slices.Backward(c.cfn.stacks) {
			if s.status != "DELETE_COMPLETE" {
				list = append(list, s.view())
			}
		}
	}
	return c.listOf("Stacks", list)
}

// listOf is a list of CloudFormation, cut where the caller's token says.
func (c *call) listOf(name string, list []any) (object, error) {
	part, next, err := c.page(list, "NextToken", "")
	if err != nil {
		return nil, err
	}
	out := object{name: append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}

func listStacks(c *call) (object, error) {
	wanted := c.in.texts("StackStatusFilter")
	var list []any
	for _, s := range slices.Backward(c.cfn.stacks) {
		if len(wanted) > 0 && !slices.Contains(wanted, s.status) {
			continue
		}
		o := object{"StackId": s.id, "StackName": s.name, "StackStatus": s.status, "CreationTime": stamp(s.created), "DriftInformation": object{"StackDriftStatus": "NOT_CHECKED"}}
		set(o, "StackStatusReason", s.reason)
		set(o, "LastUpdatedTime", s.updated)
		set(o, "DeletionTime", s.deleted)
		if s.template != nil {
			set(o, "TemplateDescription", s.template.description)
		}
		list = append(list, o)
	}
	return c.listOf("StackSummaries", list)
}

func describeStackEvents(c *call) (object, error) {
	name := c.in.text("StackName")
	s := c.stackNamed(name)
	if s == nil {
		return nil, invalid("Stack [%s] does not exist", name)
	}
	var list []any
	for _, e := range slices.Backward(s.events) {
		list = append(list, e)
	}
	return c.listOf("StackEvents", list)
}

func (s *stack) resourceViews() []any {
	var list []any
	for _, name := range sorted(s.resources) {
		if !strings.Contains(name, " ") { // one that was replaced, and is about to go
			list = append(list, s.resources[name].view(s))
		}
	}
	return list
}

func describeStackResources(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	list := s.resourceViews()
	if name := c.in.text("LogicalResourceId"); name != "" {
		list = slices.DeleteFunc(list, func(v any) bool { return v.(object)["LogicalResourceId"] != name })
	}
	return object{"StackResources": append([]any{}, list...)}, nil
}

func describeStackResource(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	r := s.resources[c.in.text("LogicalResourceId")]
	if r == nil {
		return nil, invalid("Resource %s does not exist for stack %s", c.in.text("LogicalResourceId"), s.name)
	}
	o := r.view(s)
	o["LastUpdatedTimestamp"] = o["Timestamp"]
	return object{"StackResourceDetail": without(o, "Timestamp")}, nil
}

func listStackResources(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, v := range s.resourceViews() {
		o := without(v.(object), "StackId", "StackName", "Timestamp")
		o["LastUpdatedTimestamp"] = v.(object)["Timestamp"]
		list = append(list, o)
	}
	return c.listOf("StackResourceSummaries", list)
}

func getTemplate(c *call) (object, error) {
	c.in.ignore("TemplateStage")
	if c.in.has("ChangeSetName") {
		x, err := c.changeSet()
		if err != nil {
			return nil, err
		}
		return object{"TemplateBody": x.body, "StagesAvailable": []any{"Original", "Processed"}}, nil
	}
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	return object{"TemplateBody": s.body, "StagesAvailable": []any{"Original", "Processed"}}, nil
}

func validateTemplate(c *call) (object, error) {
	t, _, err := c.template(nil)
	if err != nil {
		return nil, err
	}
	var list []any
	for _, name := range sorted(t.parameters) {
		list = append(list, object{"ParameterKey": name, "NoEcho": false})
	}
	return object{"Parameters": append([]any{}, list...), "Description": t.description}, nil
}

func updateProtection(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	s.protected = c.in.flag("EnableTerminationProtection")
	return object{"StackId": s.id}, nil
}

func continueRollback(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	if s.status != "UPDATE_ROLLBACK_FAILED" {
		return nil, invalid("Stack:%s is in %s state and can not be rolled back", s.id, s.status)
	}
	s.token, s.who = c.in.text("ClientRequestToken"), c.who
	s.become("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
	s.rollBack()
	return nil, nil
}
