package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// OpenAPI returns the OpenAPI 3.1 document of every operation under /v1, made
// from the table that routes and from the Go types that are sent. It is made
// when it is first asked for, so that a daemon nobody asks pays nothing.
func OpenAPI() ([]byte, error) { return document() }

var document = sync.OnceValues(func() ([]byte, error) {
	d := describe()
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	return append(data, '\n'), nil
})

// everyFault is what any operation can end in, whatever it does.
var everyFault = []fault.Kind{fault.Malformed, fault.Unexpected, fault.Unavailable}

const schemas = "#/components/schemas/"

// How an operation says who may call it: the scheme of sessions, and the action
// that policies are asked for.
const (
	schemeSession   = "session"
	extensionAction = "x-cortex-action"
)

func describe() *huma.OpenAPI {
	reg := huma.NewMapRegistry(schemas, huma.DefaultSchemaNamer)
	reg.RegisterTypeAlias(reflect.TypeFor[workload.Quantity](), reflect.TypeFor[string]())
	reg.RegisterTypeAlias(reflect.TypeFor[workload.Variable](), reflect.TypeFor[variable]())
	reg.RegisterTypeAlias(reflect.TypeFor[workload.JSONText](), reflect.TypeFor[map[string]any]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Cortex operator", Version: "v1",
			Description: "Deploys, manages and scales models and other containers as APIs. Every answer that is no " +
				"success is an Error. A stream is one JSON object per line (application/x-ndjson); its last line is " +
				"an End, and a stream without one was cut off; empty lines say that the operator is still there.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{Schemas: reg, SecuritySchemes: map[string]*huma.SecurityScheme{
			schemeSession: {Type: "http", Scheme: "bearer", Description: "A session, from createSession. On the Unix socket of one " +
				"machine there is none: whoever can connect is its owner."},
		}},
	}
	for _, rt := range routes {
		doc.AddOperation(describeRoute(reg, rt))
	}
	admitNulls(reg, schemas)
	return doc
}

func describeRoute(reg huma.Registry, rt route) *huma.Operation {
	op := &huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path,
		Summary: rt.summary, Description: rt.about,
		Responses: map[string]*huma.Response{},
	}
	for _, name := range []string{"name", "id"} {
		if strings.Contains(rt.path, "{"+name+"}") {
			most := maxNameBytes
			op.Parameters = append(op.Parameters, &huma.Param{
				Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most},
			})
		}
	}
	if rt.events {
		most := maxNameBytes
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: headerLastEvent, In: "header", Description: "the id of the last line that the caller has", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most},
		})
	}
	for _, p := range rt.query {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: p.name, In: "query", Description: p.about, Schema: &huma.Schema{Type: p.kind, Description: p.format},
		})
	}
	if !rt.open {
		op.Security = []map[string][]string{{schemeSession: {}}}
		op.Extensions = map[string]any{extensionAction: string(rt.action)}
	}
	if rt.body != nil {
		content, schema := bodyOf(reg, rt)
		op.RequestBody = &huma.RequestBody{
			Required: !rt.bodyOptional,
			Content:  map[string]*huma.MediaType{content: {Schema: schema}},
		}
	}
	content, schema := contentJSON, reg.Schema(rt.answer, true, "")
	if rt.stream != nil {
		content = contentNDJSON
		schema = &huma.Schema{
			Description: "of each line",
			OneOf:       []*huma.Schema{schema, reg.Schema(reflect.TypeFor[End](), true, "")},
		}
	} else if schema.Type == huma.TypeArray {
		schema.Nullable = false // answers sees to it
	}
	status := "200"
	if rt.converse {
		status = "101" // and an answer in the last frame
		refuse(op, reg.Schema(reflect.TypeFor[Error](), true, ""), http.StatusUpgradeRequired)
	}
	op.Responses[status] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{content: {Schema: schema}}}
	if rt.events {
		op.Responses[status].Content[contentEvents] = &huma.MediaType{Schema: &huma.Schema{
			Type: huma.TypeString, Description: "the same as server-sent events, for callers that accept these: a line is the data of an event, the End of one of type end",
		}}
	}
	problem := reg.Schema(reflect.TypeFor[Error](), true, "")
	faults := append(everyFault, rt.faults...)
	if !rt.open {
		faults = append(faults, fault.Unproven, fault.Forbidden)
	}
	for _, kind := range faults {
		refuse(op, problem, fault.HTTPStatus(fault.New(kind, "", "")))
	}
	if rt.body != nil {
		refuse(op, problem, http.StatusRequestTimeout)
		refuse(op, problem, http.StatusRequestEntityTooLarge)
		refuse(op, problem, http.StatusUnsupportedMediaType)
	}
	return op
}

// bodyOf is what a route reads, and of which type.
func bodyOf(reg huma.Registry, rt route) (content string, schema *huma.Schema) {
	t := reflect.TypeOf(rt.body()).Elem()
	switch t {
	case reflect.TypeFor[rawSecret]():
		least, most := 1, workload.MaxSecretBytes
		return contentBytes, &huma.Schema{Type: huma.TypeString, Format: "binary", MinLength: &least, MaxLength: &most}
	case reflect.TypeFor[rawProof]():
		t = reflect.TypeFor[auth.Proof]()
	}
	return contentJSON, reg.Schema(t, true, "")
}

// variable describes a workload.Variable, which is a string or an object.
type variable struct{}

// Schema implements huma.SchemaProvider.
func (variable) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString},
		{
			Type: huma.TypeObject, Required: []string{"secret"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"secret": {Type: huma.TypeString, Description: "the secret whose value the variable has"}},
		},
	}}
}

func refuse(op *huma.Operation, schema *huma.Schema, status int) {
	op.Responses[strconv.Itoa(status)] = &huma.Response{
		Description: http.StatusText(status),
		Content:     map[string]*huma.MediaType{contentJSON: {Schema: schema}},
	}
}

// requests are the types whose unknown keys are refused. In all others a later
// version may add some, so readers must let them pass.
var requests = map[reflect.Type]bool{
	reflect.TypeFor[workload.DeployRequest]():   true,
	reflect.TypeFor[RollbackRequest]():          true,
	reflect.TypeFor[RefreshRequest]():           true,
	reflect.TypeFor[ScaleRequest]():             true,
	reflect.TypeFor[workload.ExecRequest]():     true,
	reflect.TypeFor[workload.BackfillRequest](): true,
	reflect.TypeFor[workload.KeyRequest]():      true,
	reflect.TypeFor[workload.KeyRotation]():     true,
	reflect.TypeFor[auth.Proof]():               true,
}

// admitNulls says of every member that Go writes as null that it can be null;
// the generator does so for scalars and lists only.
func admitNulls(reg huma.Registry, prefix string) {
	for name, schema := range reg.Map() {
		t := reg.TypeFromRef(prefix + name)
		if !requests[t] {
			schema.AdditionalProperties = nil
		}
		for _, f := range reflect.VisibleFields(t) {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			prop := schema.Properties[tag]
			if prop == nil {
				continue
			}
			written := !strings.Contains(options, "omitempty") && (prop.Type != "" || prop.Ref != "") // without a type it may be anything
			switch f.Type.Kind() {
			case reflect.Slice:
				prop.Nullable = written
			case reflect.Map:
				prop.Nullable = written
			case reflect.Pointer:
				if prop.Ref != "" && written {
					schema.Properties[tag] = &huma.Schema{
						Description: prop.Description,
						AnyOf:       []*huma.Schema{{Ref: prop.Ref}, {Type: "null"}},
					}
				} else if prop.Ref == "" {
					prop.Nullable = written
				}
			}
		}
	}
}
