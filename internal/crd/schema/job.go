package schema

import (
	"encoding/json"
	"fmt"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// ofJob makes the schema of a kind of jobs, which never change. A test holds its keys
// to those of package workload, and its rules to the catalogue there.
func ofJob(k workload.JobKind) func(*root) (v1.JSONSchemaProps, error) {
	return func(*root) (v1.JSONSchemaProps, error) {
		spec := batchSpec()
		if k == workload.TaskJob {
			spec = taskSpec()
		}
		spec.Description = "what the job is to do; it cannot be changed"
		spec.XValidations = append(spec.XValidations, v1.ValidationRule{Rule: "self == oldSelf", Message: "a job that was submitted cannot be changed: submit another one"})
		return v1.JSONSchemaProps{
			Type: "object", Required: []string{"spec"},
			Description: "A " + string(k) + " is one job of a " + string(k.Of()) + ". Its name is the id of the job.",
			Properties: map[string]v1.JSONSchemaProps{
				"apiVersion": {Type: "string"},
				"kind":       {Type: "string"},
				"metadata": {Type: "object", Properties: map[string]v1.JSONSchemaProps{
					"name": {Type: "string", MaxLength: ptr(int64(workload.MaxJobIDLength))},
				}},
				"spec": spec, "status": jobStatus(),
			},
			XValidations: []v1.ValidationRule{{
				Rule: "self.metadata.name.matches(" + quote(workload.JobIDPattern) + ")", FieldPath: ".metadata.name",
				Message: "must be lower-case letters, digits and dashes, and neither begin nor end with a dash",
			}},
		}, nil
	}
}

func batchSpec() v1.JSONSchemaProps {
	sources := workload.JobSources()
	var one []any
	for _, key := range sources {
		one = append(one, object{"required": []any{key}})
	}
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"api_name", "workers"},
		Properties: map[string]v1.JSONSchemaProps{
			"api_name":         apiName(workload.Batch),
			"workers":          atLeastOne("how many workers there are"),
			"item_list":        itemList(),
			"file_path_lister": lister("the path of each file is an item"),
			"delimited_files":  lister("each JSON value in the files is an item"),
			"config":           config(),
			"timeout":          timeout(),
			"sqs_dead_letter_queue": {
				Type: "object", Nullable: true, Required: []string{"arn", "max_receive_count"},
				Description: "where batches go that failed too often",
				Properties: map[string]v1.JSONSchemaProps{
					"arn":               {Type: "string", MinLength: ptr(int64(1)), Description: "the ARN of the queue"},
					"max_receive_count": atLeastOne("how often a batch is tried"),
				},
			},
			"max_failures": {
				Type: "string", Nullable: true, Pattern: workload.MaxFailuresPattern,
				Description: "batches that may fail, as a number or as a share such as 5%; more end the job (default: all)",
			},
		},
		XValidations: []v1.ValidationRule{exactlyOne(one)},
	}
}

func taskSpec() v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"api_name"},
		Properties: map[string]v1.JSONSchemaProps{
			"api_name": apiName(workload.Task),
			"workers": {
				Type: "integer", Minimum: ptr(float64(workload.TaskWorkers)), Maximum: ptr(float64(workload.TaskWorkers)),
				Description: "a task has one worker",
			},
			"config":  config(),
			"timeout": timeout(),
			"retry": {
				Type: "object", Nullable: true, Required: []string{"attempts"}, Description: "how often the worker runs that does not end with exit code 0 (default: once)",
				Properties: map[string]v1.JSONSchemaProps{
					"attempts":      atLeastOne("runs, the first one included"),
					"on_exit":       exitCodes("exit codes after which it runs again (default: all)"),
					"never_on_exit": exitCodes("exit codes after which it does not"),
				},
			},
		},
	}
}

func exitCodes(doc string) v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "array", XListType: ptr("atomic"), Description: doc,
		Items: &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{Type: "integer", Minimum: ptr(1.0), Maximum: ptr(255.0)}},
	}
}

func apiName(k workload.Kind) v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "string", MinLength: ptr(int64(1)), MaxLength: ptr(int64(workload.MaxNameLength)),
		Description:  "the name of the " + string(k) + " whose job this is",
		XValidations: []v1.ValidationRule{{Rule: "self.matches(" + quote(workload.NamePattern) + ")", Message: shapes[workload.NamePattern]}},
	}
}

func atLeastOne(doc string) v1.JSONSchemaProps {
	b := workload.JobBounds()
	return v1.JSONSchemaProps{Type: "integer", Minimum: &b.Min, Maximum: &b.Max, Description: doc}
}

func timeout() v1.JSONSchemaProps {
	t := atLeastOne("seconds after which the job is ended (default: never)")
	t.Nullable = true
	return t
}

func config() v1.JSONSchemaProps {
	c := open("settings for the containers, as they are")
	c.Nullable = true
	return c
}

func itemList() v1.JSONSchemaProps {
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"items", "batch_size"}, Description: "the items themselves",
		Properties: map[string]v1.JSONSchemaProps{
			"items": {
				Type: "array", MinItems: ptr(int64(1)), XListType: ptr("atomic"),
				Description: "any JSON; each at most 250 KiB",
				Items: &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{
					XPreserveUnknownFields: ptr(true), Nullable: true,
					MaxLength: ptr(int64(workload.MaxItemBytes - len(`""`))), // of a text; others are measured by the operator
				}},
			},
			"batch_size": atLeastOne("items in a batch"),
		},
	}
}

func lister(doc string) v1.JSONSchemaProps {
	globs := func(doc string) v1.JSONSchemaProps {
		return v1.JSONSchemaProps{
			Type: "array", XListType: ptr("atomic"), Description: doc,
			Items: &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{Type: "string", MinLength: ptr(int64(1))}},
		}
	}
	return v1.JSONSchemaProps{
		Type: "object", Required: []string{"s3_paths", "batch_size"}, Description: doc,
		Properties: map[string]v1.JSONSchemaProps{
			"s3_paths": {
				Type: "array", MinItems: ptr(int64(1)), XListType: ptr("atomic"),
				Description: "what the paths of the files begin with, such as s3://bucket/folder",
				Items:       &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{Type: "string", Pattern: workload.S3PathPattern}},
			},
			"includes":   globs("globs of the files to take; / separates (default: all)"),
			"excludes":   globs("globs of the files to leave out, after includes"),
			"batch_size": atLeastOne("items in a batch"),
		},
	}
}

func jobStatus() v1.JSONSchemaProps {
	var words []v1.JSON
	for _, s := range workload.JobStatuses() {
		text, _ := json.Marshal(s) // a string
		words = append(words, v1.JSON{Raw: text})
	}
	return v1.JSONSchemaProps{
		Type: "object", Description: "what was seen last",
		Default: &v1.JSON{Raw: []byte(fmt.Sprintf(`{"observedGeneration":%d}`, crd.Unobserved))},
		Properties: map[string]v1.JSONSchemaProps{
			"observedGeneration": {Type: "integer", Format: "int64", Description: "that was resolved last, accepted or refused; below 1: none was"},
			"status":             {Type: "string", Enum: words, Description: "what the job is doing; absent while it was not accepted"},
			"conditions": {
				Type: "array", XListType: ptr("map"), XListMapKeys: []string{"type"},
				Description: crd.Accepted + " says whether the job was accepted, or why not; " + crd.Ready + " whether it was carried out",
				Items:       &v1.JSONSchemaPropsOrArray{Schema: ptr(condition())},
			},
		},
	}
}
