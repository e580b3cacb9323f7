package schema

import (
	"fmt"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// ofWorkload makes the schema of one of the five kinds.
func ofWorkload(k workload.Kind) func(*root) (v1.JSONSchemaProps, error) {
	return func(r *root) (v1.JSONSchemaProps, error) {
		section, ok := r.specs[string(k)]
		if !ok {
			return v1.JSONSchemaProps{}, fmt.Errorf("a cortex.yaml does not have the kind %s", k)
		}
		// Name and kind are those of the resource.
		section = without(section, "name", "kind")
		c := &converter{kind: k}
		spec := c.convert("", section)
		if c.err != nil {
			return v1.JSONSchemaProps{}, c.err
		}
		spec.Description = "the keys of one API of a cortex.yaml, without name and kind"
		return v1.JSONSchemaProps{
			Type: "object", Required: []string{"spec"},
			Description: docs[k],
			Properties: map[string]v1.JSONSchemaProps{
				"apiVersion": {Type: "string"},
				"kind":       {Type: "string"},
				"metadata": {Type: "object", Properties: map[string]v1.JSONSchemaProps{
					"name": {Type: "string", MaxLength: ptr(int64(workload.MaxNameLength))},
				}},
				"spec": spec, "status": status(),
			},
			XValidations: resourceName(k),
		}, nil
	}
}

var docs = map[workload.Kind]string{
	workload.Realtime: "A RealtimeAPI answers requests as they come, with as many replicas as they need.",
	workload.Async:    "An AsyncAPI accepts requests, works on them later and keeps the results.",
	workload.Batch:    "A BatchAPI runs jobs of many items on several workers.",
	workload.Task:     "A TaskAPI runs a container to its end for each job.",
	workload.Splitter: "A TrafficSplitter divides requests among RealtimeAPIs.",
}

// deployed is the record of the store. Only its outline is known here: what a
// revision holds is checked by who deploys it, and an older definition must keep what
// a newer program writes.
func deployed() v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "object", Description: "what is deployed, as Cortex remembers it",
		XPreserveUnknownFields: ptr(true),
		Properties: map[string]v1.JSONSchemaProps{
			"serial":   {Type: "integer", Format: "int64", Description: "grows with each write"},
			"cause":    {Type: "string", Description: "why the revision was deployed"},
			"replicas": {Type: "integer", Description: "replicas there should be"},
			"revision": open("the deployed revision"),
			"outcome":  open("when the revision was first live, or why it failed"),
			"serving":  open("the last revision that was live, as long as the deployed one has not been"),
			"unproven": {Type: "boolean", Description: "whether the revision waits for a request before it is tried"},
		},
	}
}

func status() v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "object", Description: "what was seen and decided last; written by Cortex only",
		// So that nobody takes a resource for done that no operator has looked at.
		Default: &v1.JSON{Raw: []byte(fmt.Sprintf(`{"observedGeneration":%d}`, crd.Unobserved))},
		Properties: map[string]v1.JSONSchemaProps{
			"observedGeneration": {Type: "integer", Format: "int64", Description: "of the spec that was resolved last, accepted or refused; below 1: none was"},
			"waiting":            {Type: "boolean", Description: "whether the spec was refused because of what else is there, and is judged again when that changes"},
			"phase":              {Type: "string", Description: "live, updating, idle, stopped, degraded or failed"},
			"reason":             {Type: "string", Description: "why it is in this phase"},
			"ready":              {Type: "integer", Description: "replicas that receive requests"},
			"requested":          {Type: "integer", Description: "replicas there should be"},
			"up_to_date":         {Type: "integer", Description: "ready replicas of the newest version"},
			"endpoint":           {Type: "string", Description: "where the API is reached"},
			"deployed":           deployed(),
			"conditions": {
				Type: "array", XListType: ptr("map"), XListMapKeys: []string{"type"},
				Description: crd.Ready + " says whether the accepted spec answers requests; " + crd.Reconciling + " and " + crd.Stalled +
					" say whether one that does not is on its way; " + crd.Accepted + " says whether the spec was deployed, " + crd.Scaled + " whether as many replicas are ready as requested",
				Items: &v1.JSONSchemaPropsOrArray{Schema: ptr(condition())},
			},
		},
	}
}

// condition is metav1.Condition.
func condition() v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"type", "status", "lastTransitionTime", "reason", "message"},
		Properties: map[string]v1.JSONSchemaProps{
			"type":               {Type: "string", MaxLength: ptr(int64(316))},
			"status":             {Type: "string", Enum: []v1.JSON{{Raw: []byte(`"True"`)}, {Raw: []byte(`"False"`)}, {Raw: []byte(`"Unknown"`)}}},
			"observedGeneration": {Type: "integer", Format: "int64", Minimum: ptr(0.0)},
			"lastTransitionTime": {Type: "string", Format: "date-time"},
			"reason":             {Type: "string", MinLength: ptr(int64(1)), MaxLength: ptr(int64(1024)), Pattern: `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`},
			"message":            {Type: "string", MaxLength: ptr(int64(32768))},
		},
	}
}

// ofRevision makes the schema of an entry of a history, whose revision never changes.
func ofRevision(*root) (v1.JSONSchemaProps, error) {
	unchanged := func(field string) v1.ValidationRule {
		return v1.ValidationRule{Rule: "self." + field + " == oldSelf." + field, FieldPath: "." + field, Message: "a revision cannot be changed"}
	}
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"api", "revision"},
		Description: "A Revision is one entry of the history of an API.",
		Properties: map[string]v1.JSONSchemaProps{
			"apiVersion": {Type: "string"},
			"kind":       {Type: "string"},
			"metadata":   {Type: "object"},
			"api":        {Type: "string", Description: "the name of the API", MaxLength: ptr(int64(253))},
			"cause":      {Type: "string", Description: "why it was deployed", MaxLength: ptr(int64(4096))},
			"remembered": {Type: "string", Format: "date-time", Description: "when it was deployed"},
			"revision":   open("the revision"),
			"outcome":    open("when it was first live, or why it failed"),
		},
		XValidations: []v1.ValidationRule{unchanged("api"), unchanged("revision")},
	}, nil
}

// open is an object of which this version need not know every key.
func open(doc string) v1.JSONSchemaProps {
	return v1.JSONSchemaProps{Type: "object", Description: doc, XPreserveUnknownFields: ptr(true)}
}

// without is a section without some of its keys.
func without(section object, keys ...string) object {
	properties := object{}
	for key, p := range section["properties"].(object) {
		properties[key] = p
	}
	var required []any
	gone := map[string]bool{}
	for _, key := range keys {
		gone[key] = true
		delete(properties, key)
	}
	all, _ := section["required"].([]any)
	for _, key := range all {
		if !gone[key.(string)] {
			required = append(required, key)
		}
	}
	rest := object{}
	for key, v := range section {
		rest[key] = v
	}
	rest["properties"], rest["required"] = properties, required
	return rest
}

func ptr[T any](v T) *T { return &v }
