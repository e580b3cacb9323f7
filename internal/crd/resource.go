package crd

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"cortex.dev/cortex/internal/workload"
)

// GroupVersion is the group and version of every resource here.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// Kind and plural of the resource that holds one entry of a history.
const (
	RevisionKind   = "Revision"
	RevisionPlural = "revisions"
)

// Plural is what the API server calls the resources of a kind: realtimeapis.
func Plural(k workload.Kind) string { return strings.ToLower(string(k)) + "s" }

// Source is what messages call the resource of a workload: realtimeapis.cortex.dev/iris.
func Source(k workload.Kind, name string) string { return Plural(k) + "." + Group + "/" + name }
