package manifest

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/workload"
)

const inSchedule = "schedules[]."

// unscheduled is what holds where a file says nothing.
var unscheduled = workload.NewSchedule()

func schedulesField() field[workload.Spec] {
	return field[workload.Spec]{
		key: "schedules", on: has("schedules"), doc: "what the API does again and again, by a clock",
		schema: orEmpty(listSchema(&scheduleSection)),
		set: func(s *scope, t *workload.Spec, v value) {
			decodeList(s, &scheduleSection, v, &t.Schedules, workload.NewSchedule)
			if len(t.Schedules) == 0 {
				t.Schedules = nil
			}
		},
	}
}

var scheduleSection = section[workload.Schedule]{
	oneOf: []string{"cron", "every"},
	fields: []field[workload.Schedule]{
		word(inSchedule, "name", "its name, unique in the API", func(t *workload.Schedule) *string { return &t.Name }),
		word(inSchedule, "cron", "when a run is due: minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, @monthly, @yearly", func(t *workload.Schedule) *string { return &t.Cron }),
		lasts("every", "instead of cron: a run is due at each multiple of this, from 1s to 366 days, since 1970 in UTC", 0, func(t *workload.Schedule) *workload.Duration { return &t.Every }),
		word(inSchedule, "timezone", "the time zone of cron, such as Europe/Berlin (default: UTC)", func(t *workload.Schedule) *string { return &t.Timezone }),
		spoken(word(inSchedule, "overlap", "a run that is due while an earlier one is under way: skip leaves it out, queue lets it wait, replace cancels the earlier one, allow runs both", func(t *workload.Schedule) *string { return &t.Overlap }), unscheduled.Overlap),
		{
			key: "catch_up", doc: "what becomes of runs that were due while the system was down, or could not accept them",
			schema: sectionSchema(&catchUpSection),
			set: func(s *scope, t *workload.Schedule, v value) {
				decodeSection(s, &catchUpSection, v, &t.CatchUp)
			},
		},
		lasts("jitter", "puts each run off by up to this, at most a day, so that not all begin at once (default: 0)", 0, func(t *workload.Schedule) *workload.Duration { return &t.Jitter }),
		{
			key: "pause_after_failures", doc: "pause the schedule after so many runs in a row that failed; 0 never does",
			schema: wholeSchema(inSchedule+"pause_after_failures", unscheduled.PauseAfterFailures),
			set:    set((*scope).int32, func(t *workload.Schedule) *int32 { return &t.PauseAfterFailures }),
		},
		truthField("suspend", "nothing is due for as long as this is true", func(t *workload.Schedule) *bool { return &t.Suspend }),
		{
			key: "payload", required: true, on: has(inSchedule + "payload"), doc: "what its items have",
			schema: sectionSchema(&payloadSection),
			set: func(s *scope, t *workload.Schedule, v value) {
				p := &payload{}
				if !decodeSection(s, &payloadSection, v, p) {
					return
				}
				if t.Payload = &p.Payload; p.file != "" {
					if p.Text != "" || p.JSON != "" {
						s.wrongAt(v, workload.CodeExactlyOneField, "exactly one of json, text or file must be specified", "", "json, text or file", "")
					}
					p.Text = p.file
				}
			},
		},
		{
			key: "job", on: has(inSchedule + "job"), doc: "a submission of a job, without api_name (of a BatchAPI: required)",
			schema: fixed(anyMap),
			set:    set((*scope).jsonMap, func(t *workload.Schedule) *workload.JSONText { return &t.Job }),
		},
	},
}

var catchUpSection = section[workload.CatchUp]{fields: []field[workload.CatchUp]{
	lasts("window", "how late a run may begin, from 10s to 168h; later it is missed", unscheduled.CatchUp.Window, func(t *workload.CatchUp) *workload.Duration { return &t.Window }),
	spoken(word(inSchedule+"catch_up.", "runs", "which of those that are late begin: the last, or all, up to the newest 100", func(t *workload.CatchUp) *string { return &t.Runs }), unscheduled.CatchUp.Runs),
}}

// payload is that of a schedule while it is read.
type payload struct {
	workload.Payload
	file string // the text of one
}

var payloadSection = section[payload]{
	oneOf: []string{"json", "text", "file"},
	fields: []field[payload]{
		{
			key: "json", doc: "a map, which is sent as JSON",
			schema: fixed(anyMap),
			set:    set((*scope).jsonMap, func(t *payload) *workload.JSONText { return &t.JSON }),
		},
		{
			key: "text", doc: "a text, which is sent as it is",
			schema: fixed(object{"type": "string", "minLength": 1}),
			set:    set((*scope).filled, func(t *payload) *string { return &t.Text }),
		},
		{
			key: "file", doc: "the path of a text file beside this one, of at most 64 KiB, whose text when the API is deployed is sent",
			schema: fixed(object{"type": "string", "minLength": 1}),
			set: func(s *scope, t *payload, v value) {
				if path, ok := s.filled(v); ok {
					t.file = s.besideFile(v, path)
				}
			},
		},
		word(inSchedule+"payload.", "content_type", "what the container is told it is (default: application/json of json, otherwise text/plain)", func(t *payload) *string { return &t.ContentType }),
	},
}

// spoken adds what holds where a key is absent.
func spoken[T any](f field[T], def string) field[T] {
	schema := f.schema
	f.schema = func(k workload.Kind) object {
		o := schema(k)
		o["default"] = def
		return o
	}
	return f
}

var floorSection = section[workload.Floor]{fields: []field[workload.Floor]{
	word("autoscaling.floors[].", "cron", "when it begins, as schedules have it", func(t *workload.Floor) *string { return &t.Cron }),
	{
		key: "for", required: true, doc: "how long it holds, from 1s to 168h",
		schema: durationSchema(""),
		set:    set((*scope).duration, func(t *workload.Floor) *workload.Duration { return &t.For }),
	},
	word("autoscaling.floors[].", "timezone", "the time zone of cron, such as Europe/Berlin (default: UTC)", func(t *workload.Floor) *string { return &t.Timezone }),
	{
		key: "min_replicas", required: true, doc: "the least number of replicas for that time",
		schema: wholeSchema("autoscaling.floors[].min_replicas", nil),
		set:    set((*scope).int32, func(t *workload.Floor) *int32 { return &t.MinReplicas }),
	},
}}

// anyMap is a map of whatever there can be.
var anyMap = object{"type": "object", "additionalProperties": true}

// jsonMap reads a map as JSON.
func (s *scope) jsonMap(v value) (workload.JSONText, bool) {
	if v.node.Kind != yaml.MappingNode {
		s.wrongType(v, "a map", "")
		return "", false
	}
	text, err := json.Marshal(s.d.plain(v.node, 0))
	if err != nil {
		s.wrongAt(v, workload.CodePrimitiveType, "cannot be written as JSON", "", "", "")
		return "", false
	}
	return workload.JSONText(text), true
}

// besideFile returns the text of a file beside this one.
func (s *scope) besideFile(v value, path string) string {
	refuse := func(message string) string {
		s.wrongAt(v, workload.CodePayload, message, quote(path), "", "file is a path from the folder of this file")
		return ""
	}
	if s.d.payloads++; s.d.payloads > workload.MaxEnvFiles {
		return refuse(fmt.Sprintf("is one of more than %d files", workload.MaxEnvFiles))
	}
	if s.d.sources == nil {
		return refuse("there are no files beside this")
	}
	text, err := s.d.sources(path)
	switch {
	case err != nil:
		return refuse(fmt.Sprintf("cannot be read: %v", reason(err)))
	case len(text) > workload.MaxPayloadBytes:
		return refuse(fmt.Sprintf("has more than %d bytes", workload.MaxPayloadBytes))
	case text == "":
		return refuse("is empty")
	}
	return text
}
