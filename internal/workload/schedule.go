package workload

import (
	"encoding/json"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/cron"
)

// Schedule has an API do something again and again (Async, Batch, Task).
type Schedule struct {
	Name     string   `json:"name"`
	Cron     string   `json:"cron,omitempty"` // either this or Every
	Every    Duration `json:"every,omitzero"`
	Timezone string   `json:"timezone,omitempty"` // of Cron; empty: UTC
	Overlap  string   `json:"overlap,omitempty"`  // OverlapSkip, …; empty: OverlapSkip
	CatchUp  CatchUp  `json:"catch_up"`
	// Jitter is the most by which a run is put off: by the same each time that it is asked.
	Jitter             Duration `json:"jitter,omitzero"`
	PauseAfterFailures int32    `json:"pause_after_failures,omitempty"` // in a row; 0: never
	Suspend            bool     `json:"suspend,omitempty"`
	Payload            *Payload `json:"payload,omitempty"` // of an item (Async)
	Job                JSONText `json:"job,omitempty"`     // a submission (Batch, Task)
}

// CatchUp says what becomes of runs whose time passed while nothing could begin them.
type CatchUp struct {
	Window Duration `json:"window"` // how late a run may be
	Runs   string   `json:"runs"`   // RunsLast or RunsAll
}

// Payload is what a schedule sends. Exactly one of JSON and Text is set.
type Payload struct {
	JSON        JSONText `json:"json,omitempty"`
	Text        string   `json:"text,omitempty"`
	ContentType string   `json:"content_type,omitempty"` // empty: of JSON application/json, of a text text/plain
}

// What becomes of a run whose time comes while an earlier one is under way.
const (
	OverlapSkip    = "skip"    // it is left out
	OverlapQueue   = "queue"   // it waits
	OverlapReplace = "replace" // the earlier one is cancelled
	OverlapAllow   = "allow"   // both run
)

// Which of several runs that are late begin.
const (
	RunsLast = "last"
	RunsAll  = "all"
)

// Bounds of schedules and floors.
const (
	MaxSchedules    = 50  // of an API
	MaxFloors       = 20  // of an API
	MaxCatchUp      = 100 // runs that are late and begin at once, or wait
	MaxPayloadBytes = 64 << 10
	MaxWindow       = 7 * 24 * time.Hour
	MaxJitter       = 24 * time.Hour
	MinEvery        = time.Second
	MaxEvery        = 366 * 24 * time.Hour
	MaxFloor        = 7 * 24 * time.Hour
)

// The states of a schedule.
const (
	ScheduleActive    = "active"
	SchedulePaused    = "paused"    // by somebody, or after failures
	ScheduleSuspended = "suspended" // by its specification
	ScheduleStopped   = "stopped"   // with its API
)

// ScheduleStatus is what a schedule does.
type ScheduleStatus struct {
	API      string        `json:"api"`
	Name     string        `json:"name"`
	When     string        `json:"when"`               // it is due, in words
	State    string        `json:"state"`              // active, paused, suspended, stopped
	Reason   string        `json:"reason,omitempty"`   // why it is not active, or why the run that is due cannot begin
	Next     []time.Time   `json:"next"`               // the next times at which it is due; empty while it is not active
	Failures int           `json:"failures"`           // runs in a row that failed
	Running  int           `json:"running"`            // runs under way
	Waiting  int           `json:"waiting"`            // runs that wait for them
	Runs     []ScheduleRun `json:"runs"`               // the latest ones: those under way, then those that have ended, newest first
	Backfill *Backfill     `json:"backfill,omitempty"` // that is under way
}

// ScheduleRun is one run of a schedule.
type ScheduleRun struct {
	Time    time.Time `json:"time"`         // at which it was due
	ID      string    `json:"id,omitempty"` // of its item or job; empty: it could not begin
	BeganAt time.Time `json:"began_at"`
	Cause   string    `json:"cause,omitempty"` // manual or backfill; empty: it was due
	State   string    `json:"state"`           // running, succeeded, failed, cancelled, gone
	Error   string    `json:"error,omitempty"` // why it could not begin
}

// MaxBackfill is how many runs one backfill has.
const MaxBackfill = 1000

// BackfillRequest asks for the runs that were due from one moment to before another.
type BackfillRequest struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Parallel int       `json:"parallel,omitempty"` // runs under way at once; 0: 1
}

// Backfill is one that is under way.
type Backfill struct {
	From     time.Time `json:"from"` // what was due until then has been begun
	To       time.Time `json:"to"`
	Parallel int       `json:"parallel"`
	Begun    int       `json:"begun"`
	Failed   int       `json:"failed"`
	Running  int       `json:"running"`
}

// Patterns of the strings of a schedule.
const (
	OverlapPattern     = `^(skip|queue|replace|allow)$`
	RunsPattern        = `^(last|all)$`
	CronPattern        = `^[-@*/,0-9a-zA-Z \t]+$`
	TimezonePattern    = `^[A-Za-z][-+_/A-Za-z0-9]*$`
	ContentTypePattern = `^[-!#$&^_.+a-zA-Z0-9]+/[-!#$&^_.+a-zA-Z0-9]+( *;[ -~]*)?$`
)

// Codes of what is wrong with a schedule.
const (
	CodeCron     = "schedule.cron_invalid"
	CodeTimezone = "schedule.timezone_invalid"
	CodePeriod   = "schedule.period_out_of_range"
	CodeTooMany  = "schedule.too_many"
	CodePayload  = "schedule.payload_invalid"
	CodeJob      = "schedule.job_invalid"
)

// JSONText is a JSON value as text, empty where there is none.
type JSONText string

// MarshalJSON implements json.Marshaler.
func (t JSONText) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return []byte(t), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *JSONText) UnmarshalJSON(data []byte) error {
	if *t = JSONText(data); *t == "null" {
		*t = ""
	}
	return nil
}

// NewSchedule returns a schedule whose file says nothing of it.
func NewSchedule() Schedule {
	return Schedule{Overlap: OverlapSkip, CatchUp: CatchUp{Window: Duration(time.Hour), Runs: RunsLast}}
}

func (s *Schedule) fill() {
	d := NewSchedule()
	if s.Overlap == "" {
		s.Overlap = d.Overlap
	}
	if s.CatchUp.Window == 0 {
		s.CatchUp.Window = d.CatchUp.Window
	}
	if s.CatchUp.Runs == "" {
		s.CatchUp.Runs = d.CatchUp.Runs
	}
}

// Times are when it is due. It must be valid.
func (s *Schedule) Times() (cron.Times, error) {
	if s.Cron == "" {
		return cron.Every(time.Duration(s.Every)), nil
	}
	return cron.Parse(s.Cron, s.Timezone)
}

// When is when it is due, in words.
func (s *Schedule) When() string {
	if s.Cron == "" {
		return "every " + s.Every.String()
	}
	return timesWords(s.Cron, s.Timezone)
}

func timesWords(expr, zone string) string {
	if zone == "" {
		zone = "UTC"
	}
	return fmt.Sprintf("%s (%s)", expr, zone)
}

// Body is what an item of a schedule has, and its content type.
func (p *Payload) Body() (body []byte, contentType string) {
	body, contentType = []byte(p.Text), "text/plain; charset=utf-8"
	if p.JSON != "" {
		body, contentType = []byte(p.JSON), "application/json"
	}
	if p.ContentType != "" {
		contentType = p.ContentType
	}
	return body, contentType
}

// Submission is the job of a schedule of an API as a whole submission.
func (s *Schedule) Submission(api string) ([]byte, error) {
	job := map[string]json.RawMessage{}
	if s.Job != "" {
		if err := json.Unmarshal([]byte(s.Job), &job); err != nil {
			return nil, fmt.Errorf("reading the job of %s: %w", s.Name, err)
		}
	}
	name, err := json.Marshal(api)
	if err != nil {
		return nil, err
	}
	job["api_name"] = name
	return json.Marshal(job)
}

// Floor is a time at which there are at least so many replicas.
type Floor struct {
	Cron        string   `json:"cron"` // when it begins
	For         Duration `json:"for"`
	Timezone    string   `json:"timezone,omitempty"`
	MinReplicas int32    `json:"min_replicas"`
}

// String is f in words.
func (f *Floor) String() string {
	return fmt.Sprintf("%s for %s", timesWords(f.Cron, f.Timezone), f.For)
}

// Least returns how many replicas there are to be at least at a time, and the floor that
// says so; nil where it is min_replicas.
func (a *Autoscaling) Least(at time.Time) (int, *Floor) {
	least, why := a.MinReplicas, (*Floor)(nil)
	for i := range a.Floors {
		f := &a.Floors[i]
		if f.MinReplicas <= least {
			continue
		}
		times, err := cron.Parse(f.Cron, f.Timezone)
		if err == nil && times.Holds(at, time.Duration(f.For)) { // err: of a zone that this machine does not know
			least, why = f.MinReplicas, f
		}
	}
	return int(min(least, a.MaxReplicas)), why
}

// eachSchedule calls fn with every schedule and its path.
func eachSchedule(s *Spec, fn func(path string, x *Schedule)) {
	for i := range s.Schedules {
		fn(fmt.Sprintf("schedules[%d]", i), &s.Schedules[i])
	}
}

func scheduleNames(vs *violations, s *Spec) {
	seen := map[string]bool{}
	eachSchedule(s, func(path string, x *Schedule) {
		if x.Name != "" && seen[x.Name] {
			vs.add(Violation{Path: path + ".name", Code: CodeDuplicatedValue, Message: "is the name of two schedules", Found: abbreviate(x.Name)})
		}
		seen[x.Name] = true
	})
	if len(s.Schedules) > MaxSchedules {
		vs.add(Violation{Path: "schedules", Code: CodeTooMany, Message: fmt.Sprintf("has %d schedules, and may have %d", len(s.Schedules), MaxSchedules)})
	}
}

func scheduleTimes(vs *violations, s *Spec) {
	eachSchedule(s, func(path string, x *Schedule) {
		vs.exactlyOne(path, given{"cron", x.Cron != ""}, given{"every", x.Every != 0})
		if x.Cron != "" {
			vs.cron(path, x.Cron, x.Timezone)
		} else {
			if x.Every != 0 {
				vs.span(path+".every", x.Every, MinEvery, MaxEvery)
			}
			if x.Timezone != "" {
				vs.add(Violation{
					Path: path + ".timezone", Code: CodeTimezone, Found: abbreviate(x.Timezone),
					Message: "is of no use beside every, whose runs are the same time apart everywhere", Hint: "remove it, or write cron",
					Related: []string{path + ".cron", path + ".every"},
				})
			}
		}
		vs.span(path+".catch_up.window", x.CatchUp.Window, 10*time.Second, MaxWindow)
		vs.span(path+".jitter", x.Jitter, 0, MaxJitter)
	})
}

func (vs *violations) cron(path, expr, zone string) {
	_, err := cron.Parse(expr, zone)
	switch {
	case err == nil || vs.has(path+".cron"):
	case cron.IsZoneError(err):
		if !vs.has(path + ".timezone") {
			vs.add(Violation{
				Path: path + ".timezone", Code: CodeTimezone, Message: "is no time zone", Found: abbreviate(zone),
				Allowed: "a name of the IANA database, such as Europe/Berlin",
			})
		}
	default:
		vs.add(Violation{Path: path + ".cron", Code: CodeCron, Message: err.Error(), Found: abbreviate(expr), Hint: "such as 30 2 * * *, every day at 2:30"})
	}
}

func (vs *violations) span(path string, d Duration, least, most time.Duration) {
	if (time.Duration(d) < least || time.Duration(d) > most) && !vs.has(path) {
		vs.add(Violation{
			Path: path, Code: CodePeriod, Found: d.String(),
			Message: fmt.Sprintf("must be from %s to %s", Duration(least), Duration(most)),
		})
	}
}

func schedulePayloads(vs *violations, s *Spec) {
	eachSchedule(s, func(path string, x *Schedule) {
		path += ".payload"
		if x.Payload == nil {
			vs.missing(path, "payload", "what its items have: json, text or file")
			return
		}
		vs.exactlyOne(path, given{"json", x.Payload.JSON != ""}, given{"text", x.Payload.Text != ""}, given{"file", false})
		if body, _ := x.Payload.Body(); len(body) > MaxPayloadBytes {
			vs.add(Violation{Path: path, Code: CodePayload, Message: fmt.Sprintf("has %d bytes, and may have %d", len(body), MaxPayloadBytes), Hint: "name data by where they are"})
		}
	})
}

func scheduleJobs(vs *violations, s *Spec) {
	eachSchedule(s, func(path string, x *Schedule) {
		path += ".job"
		kind := TaskJob
		if s.Kind == Batch {
			kind = BatchJob
		}
		if x.Job == "" && kind == BatchJob {
			vs.missing(path, "job", "a submission of a job, without api_name")
			return
		}
		text, err := x.Submission(s.Name)
		if err != nil {
			vs.add(Violation{Path: path, Code: CodeJob, Message: "is no map"})
			return
		}
		_, broken := ParseSubmission(kind, text)
		for _, v := range broken {
			if v.Path == "api_name" {
				continue // which is ours
			}
			if v.Path != "" {
				v.Message = v.Path + ": " + v.Message
			}
			v.Path = path
			v.OfKey, v.Related = false, nil
			vs.add(v)
		}
	})
}

func floorsInRange(vs *violations, s *Spec) {
	a := s.Autoscaling
	if a == nil {
		return
	}
	for i, f := range a.Floors {
		path := fmt.Sprintf("autoscaling.floors[%d]", i)
		if f.Cron != "" {
			vs.cron(path, f.Cron, f.Timezone)
		}
		vs.span(path+".for", f.For, time.Second, MaxFloor)
		if f.MinReplicas > a.MaxReplicas {
			vs.replicas(path+".min_replicas", f.MinReplicas, CodeMinAboveMax, "must not be greater than max_replicas", maxReplicas, a.MaxReplicas)
		}
	}
	if len(a.Floors) > MaxFloors {
		vs.add(Violation{Path: "autoscaling.floors", Code: CodeTooMany, Message: fmt.Sprintf("has %d floors, and may have %d", len(a.Floors), MaxFloors)})
	}
}
