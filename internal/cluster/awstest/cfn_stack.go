package awstest

import (
	"slices"
	"strings"
	"time"
)

// cfnState is what CloudFormation knows.
type cfnState struct {
	stacks     []*stack // oldest first, deleted ones too
	sets       map[string]*changeSet
	detections map[string]object
}

// stack is a stack of CloudFormation.
type stack struct {
	a                *Account
	id, name         string
	status, reason   string
	template         *template
	body             string
	params, tags     map[string]string
	resources        map[string]*stackResource
	outputs          map[string]string
	events           []object // oldest first
	created, updated time.Time
	deleted          time.Time
	who              *principal
	token            string
	keepFailed       bool // DisableRollback
	protected        bool
	set              string // the change set that was carried out last
	drift            object
	before           *stackState // while it is updated: what to go back to
	doing            *walk
}

// stackState is what an update goes back to.
type stackState struct {
	template     *template
	body         string
	params, tags map[string]string
	outputs      map[string]string
	resources    map[string]stackResource
}

// stackResource is what a stack has made, or tries to.
type stackResource struct {
	logical, kind  string
	physical       string
	props          object // with which it was made
	attrs          object
	needs          []string
	status, reason string
	at             time.Time
	retain         bool
	drift          string
}

// Endings of states.
const (
	inProgress = "_IN_PROGRESS"
	complete   = "_COMPLETE"
	failed     = "_FAILED"
)

const stackKind = "AWS::CloudFormation::Stack"

// busy reports whether something is being done.
func (s *stack) busy() bool {
	return strings.HasSuffix(s.status, inProgress) && s.status != "REVIEW_IN_PROGRESS"
}

// stackNamed finds a stack by its id, or one that is not deleted by its name.
func (a *Account) stackNamed(name string) *stack {
	i := slices.IndexFunc(a.cfn.stacks, func(s *stack) bool {
		return s.id == name || s.name == name && s.status != "DELETE_COMPLETE"
	})
	if i < 0 {
		return nil
	}
	return a.cfn.stacks[i]
}

func (c *call) stack() (*stack, error) {
	name := c.in.text("StackName")
	s := c.stackNamed(name)
	if s == nil {
		return nil, invalid("Stack with id %s does not exist", name)
	}
	return s, nil
}

// event notes what has happened to a stack or one of its resources.
func (s *stack) event(logical, physical, kind, status, reason string, props object) {
	e := object{
		"EventId": s.a.uuid(), "StackId": s.id, "StackName": s.name, "LogicalResourceId": logical, "PhysicalResourceId": physical,
		"ResourceType": kind, "ResourceStatus": status, "Timestamp": stamp(s.a.clock.now),
	}
	if kind != stackKind {
		e["EventId"] = logical + "-" + status + "-" + s.a.letters(hexDigits, 12)
	}
	set(e, "ResourceStatusReason", reason)
	set(e, "ClientRequestToken", s.token)
	if props != nil {
		e["ResourceProperties"] = mustJSON(props)
	}
	s.events = append(s.events, e)
}

// become changes the state of a stack.
func (s *stack) become(status, reason string) {
	s.status, s.reason = status, reason
	s.event(s.name, s.id, stackKind, status, reason, nil)
}

// become changes the state of a resource.
func (r *stackResource) become(s *stack, status, reason string) {
	r.status, r.reason, r.at = status, reason, s.a.clock.now
	s.event(r.logical, r.physical, r.kind, status, reason, r.props)
}

// scope is what names mean in a template of the stack.
func (s *stack) scope(t *template, params map[string]string) *scope {
	return &scope{a: s.a, t: t, params: params, stack: s,
		physical: func(name string) any {
			if r := s.resources[name]; r != nil && r.physical != "" {
				return r.ref()
			}
			return unknown{}
		},
		attribute: func(name, attribute string) any {
			r := s.resources[name]
			if r == nil || r.physical == "" {
				return unknown{}
			}
			return valueAt(r.attrs, attribute)
		}}
}

// ref is what Ref of a resource is: its id, but for those that have another.
func (r *stackResource) ref() string {
	if other := resourceKinds[r.kind].ref; other != "" {
		return textOf(r.attrs[other])
	}
	return r.physical
}

func valueAt(o object, path string) any {
	if v, ok := o[path]; ok {
		return v
	}
	first, rest, nested := strings.Cut(path, ".")
	if below, ok := o[first].(object); ok && nested {
		return valueAt(below, rest)
	}
	return nil
}

// properties are those of a resource now: resolved, held against its type, with the tags
// that all of the stack has.
func (s *stack) properties(t *template, params, tags map[string]string, name string) (object, error) {
	r := t.resources[name]
	resolved, _ := s.scope(t, params).resolve(orEmpty(r.properties)).(object)
	props, err := schemas[r.kind].validate(name, resolved)
	if err != nil {
		return nil, err
	}
	return s.tagged(r.kind, name, props, tags), nil
}

func orEmpty(o object) object {
	if o == nil {
		return object{}
	}
	return o
}

func (s *stack) tagged(kind, name string, props object, tags map[string]string) object {
	asMap, ok := schemas[kind].taggable()
	if !ok {
		return props
	}
	all := map[string]string{
		"aws:cloudformation:stack-name": s.name, "aws:cloudformation:stack-id": s.id, "aws:cloudformation:logical-id": name,
	}
	for k, v := range tags {
		all[k] = v
	}
	for k, v := range tagsOf(props) {
		all[k] = v
	}
	out := without(props)
	if asMap {
		m := object{}
		for k, v := range all {
			m[k] = v
		}
		out["Tags"] = m
	} else {
		out["Tags"] = tagList(all, "Key", "Value")
	}
	return out
}

// tagsOf are the tags in properties, whichever form they have.
func tagsOf(props object) map[string]string {
	tags := map[string]string{}
	switch x := props["Tags"].(type) {
	case object:
		for k, v := range x {
			tags[k] = textOf(v)
		}
	case []any:
		for _, each := range x {
			t, _ := each.(object)
			tags[textOf(t["Key"])] = textOf(t["Value"])
		}
	}
	return tags
}

func (s *stack) view() object {
	o := object{
		"StackId": s.id, "StackName": s.name, "StackStatus": s.status, "CreationTime": stamp(s.created), "DisableRollback": s.keepFailed,
		"NotificationARNs": []any{}, "RollbackConfiguration": object{}, "Tags": tagList(s.tags, "Key", "Value"),
		"DriftInformation": object{"StackDriftStatus": "NOT_CHECKED"},
	}
	if s.drift != nil {
		o["DriftInformation"] = s.drift
	}
	set(o, "StackStatusReason", s.reason)
	set(o, "LastUpdatedTime", s.updated)
	set(o, "DeletionTime", s.deleted)
	set(o, "ChangeSetId", s.set)
	if s.template != nil {
		set(o, "Description", s.template.description)
		set(o, "Parameters", tagList(s.params, "ParameterKey", "ParameterValue"))
	}
	if s.status != "DELETE_COMPLETE" {
		o["EnableTerminationProtection"] = s.protected
		set(o, "Outputs", tagList(s.outputs, "OutputKey", "OutputValue"))
	}
	return o
}

func (r *stackResource) view(s *stack) object {
	o := object{
		"StackId": s.id, "StackName": s.name, "LogicalResourceId": r.logical, "PhysicalResourceId": r.physical, "ResourceType": r.kind, "ResourceStatus": r.status,
		"Timestamp": stamp(r.at), "DriftInformation": object{"StackResourceDriftStatus": r.drift},
	}
	if r.drift == "" {
		o["DriftInformation"] = object{"StackResourceDriftStatus": "NOT_CHECKED"}
	}
	set(o, "ResourceStatusReason", r.reason)
	return o
}
