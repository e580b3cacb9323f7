package policy

import (
	_ "embed" // the schema
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"cortex.dev/cortex/internal/auth"
)

// The types of the schema.
const (
	typeUser        cedar.EntityType = "Cortex::User"
	typeRole        cedar.EntityType = "Cortex::Role"
	typeAPI         cedar.EntityType = "Cortex::API"
	typeSecret      cedar.EntityType = "Cortex::Secret"
	typeVolume      cedar.EntityType = "Cortex::Volume"
	typeEnvironment cedar.EntityType = "Cortex::Environment"
	typeAction      cedar.EntityType = "Cortex::Action"
)

// clusterPrefix begins the actions on the environment, groupCluster is all of them.
const (
	clusterPrefix = "cluster:"
	groupCluster  = "cluster:*"
)

//go:embed cortex.cedarschema
var schemaText []byte

// Schema returns the Cedar schema that policies are held to, in the syntax for people.
func Schema() []byte { return slices.Clone(schemaText) }

// theSchema and validator are of the embedded file, which a test reads too. They are
// made when they are first used: the command line, which has them too, seldom does.
var theSchema = sync.OnceValue(func() *resolved.Schema { return mustResolve(schemaText) })

var validator = sync.OnceValue(func() *validate.Validator { return validate.New(theSchema(), validate.WithStrict()) })

func mustResolve(text []byte) *resolved.Schema {
	var s schema.Schema
	s.SetFilename("cortex.cedarschema")
	if err := s.UnmarshalCedar(text); err != nil {
		panic("policy: " + err.Error())
	}
	r, err := s.Resolve()
	if err != nil {
		panic("policy: " + err.Error())
	}
	return r
}

// actions are the entities of auth.Actions, with the group that they are in.
var actions = func() map[auth.Action]cedar.Entity {
	all := make(map[auth.Action]cedar.Entity, len(auth.Actions))
	for _, a := range auth.Actions {
		e := cedar.Entity{UID: cedar.NewEntityUID(typeAction, cedar.String(a))}
		if onEnvironment(a) {
			e.Parents = cedar.NewEntityUIDSet(cedar.NewEntityUID(typeAction, groupCluster))
		}
		all[a] = e
	}
	return all
}()

func onEnvironment(a auth.Action) bool { return strings.HasPrefix(string(a), clusterPrefix) }

// applies reports whether the schema knows the question: an action of the list,
// and of an API, a secret and a volume only what is done to such.
func applies(q auth.Query) bool {
	_, known := actions[q.Action]
	switch {
	case q.Resource.Secret != "":
		return known && q.Resource.API == "" && q.Resource.Volume == "" && q.Action.OnSecrets()
	case q.Resource.Volume != "":
		return known && q.Resource.API == "" && q.Action.OnVolumes()
	case q.Resource.API != "":
		return known && !onEnvironment(q.Action) && !q.Action.OnSecrets() && !q.Action.OnVolumes()
	}
	return known
}

// question is a query as Cedar sees it. Entities are made when a policy looks at
// their attributes or parents, which the default policy never does.
type question struct {
	auth.Query
	principal, resource, environment cedar.EntityUID
}

func newQuestion(q auth.Query) *question {
	t := typeUser
	if q.Principal.Type == auth.Role {
		t = typeRole
	}
	w := &question{
		Query:       q,
		principal:   cedar.NewEntityUID(t, cedar.String(q.Principal.ARN)),
		environment: cedar.NewEntityUID(typeEnvironment, cedar.String(q.Resource.Environment)),
	}
	w.resource = w.environment
	switch {
	case q.Resource.Secret != "":
		w.resource = cedar.NewEntityUID(typeSecret, cedar.String(q.Resource.Secret))
	case q.Resource.Volume != "":
		w.resource = cedar.NewEntityUID(typeVolume, cedar.String(q.Resource.Volume))
	case q.Resource.API != "":
		w.resource = cedar.NewEntityUID(typeAPI, cedar.String(q.Resource.API))
	}
	return w
}

func (w *question) request() cedar.Request {
	return cedar.Request{Principal: w.principal, Action: actions[w.Action].UID, Resource: w.resource}
}

// Get implements cedar.EntityGetter. There is nothing but what is asked about.
func (w *question) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	e := cedar.Entity{UID: uid}
	attributes := cedar.RecordMap{}
	switch uid {
	case w.principal:
		p := w.Principal
		_, name, typed := strings.Cut(p.Name(), "/")
		if !typed {
			name = p.Name() // root
		}
		attributes["partition"], attributes["account"] = cedar.String(p.Partition), cedar.String(p.Account)
		attributes["name"], attributes["type"] = cedar.String(name), cedar.String(p.Type)
	case w.environment:
		attributes["environment"] = cedar.String(w.Resource.Environment)
	case w.resource:
		e.Parents = cedar.NewEntityUIDSet(w.environment)
		attributes["environment"] = cedar.String(w.Resource.Environment)
		if w.Resource.Kind != "" {
			attributes["kind"] = cedar.String(w.Resource.Kind)
		}
	default:
		e, known := actions[auth.Action(uid.ID)]
		return e, known && uid.Type == typeAction
	}
	e.Attributes = cedar.NewRecord(attributes)
	return e, true
}
