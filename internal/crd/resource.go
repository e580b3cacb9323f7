package crd

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every resource here.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// Kind and plural of the resource that holds one entry of a history.
const (
	RevisionKind   = "Revision"
	RevisionPlural = "revisions"
)

// Plural is what the API server calls the resources of a kind: realtimeapis.
func Plural[K ~string](kind K) string { return strings.ToLower(string(kind)) + "s" }

// Source is what messages call a resource: realtimeapis.cortex.dev/iris.
func Source[K ~string](kind K, name string) string { return Plural(kind) + "." + Group + "/" + name }
