package awstest

import (
	"slices"
	"strings"
	"time"
)

// changeSet is a change of a stack that was asked for and can be looked at before it is
// carried out.
type changeSet struct {
	id, name, kind string
	s              *stack
	status, reason string
	execution      string
	t              *template
	body           string
	params, tags   map[string]string
	changes        []any
	created        time.Time
	token          string
	who            *principal
}

// nothingToDo is what CloudFormation says of a change set without changes.
const nothingToDo = "The submitted information didn't contain changes. Submit different information to create a change set."

// changeSetTakes is how long CloudFormation thinks about a change set.
const changeSetTakes = 4 * time.Second

// difference is a property that is not what it was.
type difference struct {
	path  string // such as AccessConfig/AuthenticationMode
	known bool   // what it becomes
	isTag bool
}

// differing are the properties that differ, down to two levels: those that create-only
// properties have.
func differing(old, now object) []difference {
	var all []difference
	for _, name := range union(old, now) {
		if mustJSON(plain(old[name])) == mustJSON(plain(now[name])) {
			continue
		}
		a, isObject := old[name].(object)
		b, both := now[name].(object)
		if !isObject || !both || name == "Tags" {
			all = append(all, difference{path: name, known: !hasUnknown(now[name]), isTag: name == "Tags"})
			continue
		}
		for _, below := range union(a, b) {
			if mustJSON(plain(a[below])) != mustJSON(plain(b[below])) {
				all = append(all, difference{path: name + "/" + below, known: !hasUnknown(b[below])})
			}
		}
	}
	return all
}

// plain is a value that can be written: what is unknown equals nothing.
func plain(v any) any {
	switch x := v.(type) {
	case unknown:
		return object{"": "unknown"}
	case []any:
		list := make([]any, len(x))
		for i, each := range x {
			list[i] = plain(each)
		}
		return list
	case object:
		o := object{}
		for k, each := range x {
			o[k] = plain(each)
		}
		return o
	}
	return v
}

func union(a, b object) []string {
	both := object{}
	for k := range a {
		both[k] = nil
	}
	for k := range b {
		both[k] = nil
	}
	return sorted(both)
}

// replaces reports whether differences want a new resource.
func replaces(kind string, list []difference) bool {
	return slices.ContainsFunc(list, func(d difference) bool {
		top, _, _ := strings.Cut(d.path, "/")
		return schemas[kind].createOnly(d.path) || schemas[kind].createOnly(top)
	})
}

// preview works out what a change would do.
func (s *stack) preview(t *template, params, tags map[string]string) []any {
	var changes []any
	change := func(action, name, physical, kind string, more object) {
		c := object{"Action": action, "LogicalResourceId": name, "ResourceType": kind, "Scope": []any{}, "Details": []any{}}
		set(c, "PhysicalResourceId", physical)
		for k, v := range more {
			c[k] = v
		}
		changes = append(changes, object{"Type": "Resource", "ResourceChange": c})
	}
	replaced := map[string]bool{}
	for _, name := range t.order() {
		spec := t.resources[name]
		r := s.resources[name]
		if r == nil || r.physical == "" || strings.HasPrefix(r.status, "DELETE") || r.status == "CREATE_FAILED" {
			replaced[name] = true
			change("Add", name, "", spec.kind, nil)
			continue
		}
		list := differing(r.props, s.expected(t, params, tags, name, replaced))
		if len(list) == 0 {
			continue
		}
		verdict, details, scope := judge(spec, list)
		replaced[name] = verdict == "True"
		change("Modify", name, r.physical, r.kind, object{"Replacement": verdict, "Details": details, "Scope": scope})
	}
	for _, name := range sorted(s.resources) {
		r := s.resources[name]
		if _, ok := t.resources[name]; !ok && r.physical != "" && r.status != "DELETE_COMPLETE" {
			change("Remove", name, r.physical, r.kind, nil)
		}
	}
	return changes
}

// order is an order in which each resource comes after those that it needs.
func (t *template) order() []string {
	var list []string
	for len(list) < len(t.resources) {
		for _, name := range sorted(t.resources) {
			free := !slices.ContainsFunc(t.resources[name].needs, func(n string) bool { return !slices.Contains(list, n) })
			if free && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// expected are the properties that a resource would have; what follows from a resource
// that would be another is unknown.
func (s *stack) expected(t *template, params, tags map[string]string, name string, replaced map[string]bool) object {
	scope := s.scope(t, params)
	physical, attribute := scope.physical, scope.attribute
	scope.physical = func(n string) any {
		if replaced[n] {
			return unknown{}
		}
		return physical(n)
	}
	scope.attribute = func(n, a string) any {
		if replaced[n] {
			return unknown{}
		}
		return attribute(n, a)
	}
	spec := t.resources[name]
	props, _ := scope.resolve(orEmpty(spec.properties)).(object)
	kind := schemas[spec.kind]
	coerced, _ := kind.coerce(object{"properties": kind.Properties}, props).(object)
	return s.tagged(spec.kind, name, coerced, tags)
}

// judge says of differences whether they want a new resource, and lists them.
func judge(spec resource, list []difference) (verdict string, details, scope []any) {
	verdict = "False"
	for _, d := range list {
		target := object{"Attribute": "Properties", "RequiresRecreation": "Never"}
		name, _, _ := strings.Cut(d.path, "/")
		set(target, "Name", name)
		evaluation := "Static"
		if !d.known {
			evaluation = "Dynamic"
		}
		where := "Properties"
		if d.isTag {
			where = "Tags"
			target = object{"Attribute": "Tags", "RequiresRecreation": "Never"}
		} else if replaces(spec.kind, []difference{d}) {
			target["RequiresRecreation"] = "Always"
			switch {
			case d.known:
				verdict = "True"
			case verdict == "False":
				verdict = "Conditional"
			}
		}
		if !slices.Contains(scope, any(where)) {
			scope = append(scope, where)
		}
		details = append(details, object{"Target": target, "Evaluation": evaluation, "ChangeSource": "DirectModification"})
	}
	return verdict, details, scope
}

func (x *changeSet) view(whole bool) object {
	o := object{
		"ChangeSetName": x.name, "ChangeSetId": x.id, "StackId": x.s.id, "StackName": x.s.name, "Status": x.status, "ExecutionStatus": x.execution,
		"CreationTime": stamp(x.created), "IncludeNestedStacks": false,
	}
	set(o, "StatusReason", x.reason)
	if whole {
		o["NotificationARNs"], o["RollbackConfiguration"], o["Capabilities"] = []any{}, object{}, []any{}
		set(o, "Parameters", tagList(x.params, "ParameterKey", "ParameterValue"))
		set(o, "Tags", tagList(x.tags, "Key", "Value"))
	}
	return o
}

func createChangeSet(c *call) (object, error) {
	name, kind := c.in.text("ChangeSetName"), c.in.or("ChangeSetType", "UPDATE")
	c.in.ignore("Description", "Capabilities")
	s := c.stackNamed(c.in.text("StackName"))
	if kind == "UPDATE" && (s == nil || s.status == "REVIEW_IN_PROGRESS") {
		return nil, invalid("Stack [%s] does not exist", c.in.text("StackName"))
	}
	if kind == "CREATE" && s != nil && s.status != "REVIEW_IN_PROGRESS" {
		return nil, invalid("Stack [%s] already exists and cannot be created again with the changeSet [%s].", s.name, name)
	}
	if s != nil {
		for _, x := range c.cfn.sets {
			if x.s == s && x.name == name {
				if token := c.in.text("ClientToken"); token != "" && token == x.token {
					c.in.ignoreAll()
					return object{"Id": x.id, "StackId": s.id}, nil
				}
				return nil, refuse("AlreadyExistsException", "ChangeSet %s cannot be created due to a mismatch with existing attribute Template", name)
			}
		}
		if err := s.updatable(); err != nil && kind == "UPDATE" {
			return nil, err
		}
	}
	t, body, err := c.template(s)
	if err != nil {
		return nil, err
	}
	params, err := c.stackParameters(s, t)
	if err != nil {
		return nil, err
	}
	tags := c.stackTags(s)
	if s == nil {
		s = c.newStack()
		s.template, s.body = &template{}, ""
		s.become("REVIEW_IN_PROGRESS", "User Initiated")
	}
	x := &changeSet{
		id: c.arn("cloudformation", "changeSet/"+name+"/"+c.uuid()), name: name, kind: kind, s: s, status: "CREATE_PENDING", execution: "UNAVAILABLE",
		t: t, body: body, params: params, tags: tags, created: c.clock.now, token: c.in.text("ClientToken"), who: c.who,
	}
	c.cfn.sets[x.id] = x
	c.made["change-set"]++
	c.clock.after(changeSetTakes, func() {
		if x.changes = s.preview(t, params, tags); len(x.changes) == 0 {
			x.status, x.reason = "FAILED", nothingToDo
			return
		}
		x.status, x.execution = "CREATE_COMPLETE", "AVAILABLE"
	})
	return object{"Id": x.id, "StackId": s.id}, nil
}

// outdate has the change sets of a stack be of no use any more, but one.
func (s *stack) outdate(but *changeSet) {
	for _, x := range s.a.cfn.sets {
		if x.s == s && x != but && x.execution == "AVAILABLE" {
			x.execution = "OBSOLETE"
		}
	}
}

func (c *call) changeSet() (*changeSet, error) {
	name, stackName := c.in.text("ChangeSetName"), c.in.text("StackName")
	if stackName != "" && c.stackNamed(stackName) == nil {
		return nil, invalid("Stack [%s] does not exist", stackName)
	}
	if stackName == "" && !strings.HasPrefix(name, "arn:") {
		return nil, invalid("StackName must be specified if ChangeSetName is not specified as an ARN.")
	}
	for _, id := range sorted(c.cfn.sets) {
		if x := c.cfn.sets[id]; x.id == name || x.name == name && (x.s.name == stackName || x.s.id == stackName) {
			return x, nil
		}
	}
	return nil, refuseAs(404, "ChangeSetNotFound", "ChangeSet [%s] does not exist", name)
}

func describeChangeSet(c *call) (object, error) {
	x, err := c.changeSet()
	if err != nil {
		return nil, err
	}
	c.in.ignore("IncludePropertyValues")
	part, next, err := c.page(x.changes, "NextToken", "")
	if err != nil {
		return nil, err
	}
	o := x.view(true)
	o["Changes"] = append([]any{}, part...)
	set(o, "NextToken", next)
	return o, nil
}

func executeChangeSet(c *call) (object, error) {
	x, err := c.changeSet()
	if err != nil {
		return nil, err
	}
	if x.execution != "AVAILABLE" {
		return nil, refuse("InvalidChangeSetStatus", "ChangeSet [%s] cannot be executed in its current status of [%s]", x.id, x.status)
	}
	if x.kind == "UPDATE" {
		if err := x.s.updatable(); err != nil {
			return nil, err
		}
	}
	x.execution = "EXECUTE_COMPLETE"
	s := x.s
	s.outdate(x)
	s.set, s.token, s.who = x.id, c.in.text("ClientRequestToken"), c.who
	s.keepFailed = c.in.flag("DisableRollback")
	if x.kind == "CREATE" {
		s.template, s.body, s.params, s.tags, s.updated = x.t, x.body, x.params, x.tags, c.clock.now
		s.create()
		return nil, nil
	}
	s.update(x.t, x.body, x.params, x.tags)
	return nil, nil
}

func deleteChangeSet(c *call) (object, error) {
	x, err := c.changeSet()
	if err != nil {
		return nil, err
	}
	delete(c.cfn.sets, x.id)
	return nil, nil
}

func listChangeSets(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, id := range sorted(c.cfn.sets) {
		if x := c.cfn.sets[id]; x.s == s {
			list = append(list, x.view(false))
		}
	}
	part, next, err := c.page(list, "NextToken", "")
	if err != nil {
		return nil, err
	}
	out := object{"Summaries": append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}
