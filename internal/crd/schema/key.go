package schema

import (
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// ofAccessKey makes the schema of what is kept of the keys of a caller.
func ofAccessKey(*root) (v1.JSONSchemaProps, error) {
	text := func(pattern, doc string) v1.JSONSchemaProps {
		return v1.JSONSchemaProps{Type: "string", Pattern: pattern, Description: doc}
	}
	moment := func(doc string) v1.JSONSchemaProps {
		return v1.JSONSchemaProps{Type: "string", Format: "date-time", Description: doc}
	}
	key := v1.JSONSchemaProps{
		Type: "object", Required: []string{"id", "sha256"},
		Properties: map[string]v1.JSONSchemaProps{
			"id":     text(crd.KeyIDPattern, "the eight characters of the key after cxk_"),
			"sha256": text(crd.HashPattern, "SHA-256 of the 32 characters of its secret, in hexadecimal"),
			"apis": {
				Type: "array", MinItems: ptr(int64(1)), MaxItems: ptr(int64(workload.MaxKeyAPIs)), XListType: ptr("set"),
				Description: "the APIs that the key is good for, by name",
				Items: &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{
					Type: "string", MaxLength: ptr(int64(workload.MaxNameLength)), Pattern: workload.NamePattern,
				}},
			},
			"all_apis": {Type: "boolean", Enum: []v1.JSON{{Raw: []byte("true")}}, Description: "instead of apis: it is good for all that there are and will be"},
			"labels": {
				Type: "object", MaxProperties: ptr(int64(workload.MaxKeyLabels)), Description: "for whoever reads the list",
				AdditionalProperties: &v1.JSONSchemaPropsOrBool{Allows: true, Schema: &v1.JSONSchemaProps{Type: "string", MaxLength: ptr(int64(workload.MaxLabelLength))}},
			},
			"created_by": {Type: "string", MaxLength: ptr(int64(2048)), Description: "who made it"},
			"created_at": moment("when it was made (default: when the resource was)"),
			"expires_at": moment("when it ends to be good (default: never)"),
		},
		XValidations: []v1.ValidationRule{{Rule: "has(self.apis) != has(self.all_apis)", Message: "a key is good for some APIs or for all: exactly one of apis and all_apis"}},
	}
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"spec"},
		Description: "An AccessKey is what is kept of the keys of one caller of APIs, whose name it has: hashes, of which nobody can make a key.",
		Properties: map[string]v1.JSONSchemaProps{
			"apiVersion": {Type: "string"},
			"kind":       {Type: "string"},
			"metadata": {Type: "object", Properties: map[string]v1.JSONSchemaProps{
				"name": {Type: "string", MaxLength: ptr(int64(workload.MaxKeyNames))},
			}},
			"spec": {
				Type: "object", Required: []string{"keys"},
				Properties: map[string]v1.JSONSchemaProps{"keys": {
					Type: "array", MinItems: ptr(int64(1)), MaxItems: ptr(int64(crd.MaxKeysOfName)),
					XListType: ptr("map"), XListMapKeys: []string{"id"},
					Description: "its keys: more than one while one is replaced by the next", Items: &v1.JSONSchemaPropsOrArray{Schema: &key},
				}},
			},
		},
		XValidations: []v1.ValidationRule{{
			Rule: "self.metadata.name.matches(" + quote(workload.NamePattern) + ")", FieldPath: ".metadata.name", Message: shapes[workload.NamePattern],
		}},
	}, nil
}

func keyColumns() []v1.CustomResourceColumnDefinition {
	return []v1.CustomResourceColumnDefinition{
		column("Newest", "string", ".spec.keys[-1:].id", "the id of the last of its keys"),
		column("Expires", "date", ".spec.keys[-1:].expires_at", "when that ends; absent: never"),
		age(),
	}
}
