package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestFromKeepsTheWholeText(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("deploying iris: %w", New(Conflict, "realtimeapi.api_updating", "iris is updating"))
	f := From(err)
	if f.Message != "deploying iris: iris is updating" || f.Kind != Conflict || f.Code != "realtimeapi.api_updating" {
		t.Errorf("From(%v) = %+v", err, f)
	}
	if From(nil) != nil {
		t.Error("From(nil) is not nil")
	}
}

func TestWrappedCauseIsReachable(t *testing.T) {
	t.Parallel()
	err := New(NotFound, "x", "reading: %w", fs.ErrNotExist)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}

func TestEveryKindHasAStatusAndAnExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err          error
		status, exit int
	}{
		{nil, 200, 0},
		{errors.New("defect"), 500, 1},
		{New(Usage, "c", "m"), 400, 2},
		{New(Malformed, "c", "m"), 400, 1},
		{New(Unproven, "c", "m"), 401, 1},
		{New(Forbidden, "c", "m"), 403, 1},
		{New(NotFound, "c", "m"), 404, 1},
		{New(Conflict, "c", "m"), 409, 1},
		{New(Invalid, "c", "m"), 422, 1},
		{New(TooMany, "c", "m"), 429, 1},
		{New(Unavailable, "c", "m"), 503, 1},
		{New(Unsupported, "c", "m"), 501, 1},
		{fmt.Errorf("x: %w", New(Invalid, "c", "m")), 422, 1},
	} {
		if got := HTTPStatus(tt.err); got != tt.status {
			t.Errorf("HTTPStatus(%v) = %d, want %d", tt.err, got, tt.status)
		}
		if got := ExitCode(tt.err); got != tt.exit {
			t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.exit)
		}
	}
}

func TestProblemNamesPositionPathAndHint(t *testing.T) {
	t.Parallel()
	p := Problem{
		File: "cortex.yaml", Line: 3, Column: 5, API: "iris (RealtimeAPI)", Path: "pod.prot",
		Code: "configreader.unsupported_key", Message: `key "prot" is not supported`, Hint: `did you mean "port"?`,
	}
	want := `cortex.yaml:3:5: iris (RealtimeAPI): pod.prot: key "prot" is not supported (did you mean "port"?)`
	if got := p.String(); got != want {
		t.Errorf("String() = %s\nwant       %s", got, want)
	}
	if OfProblems(nil) != nil {
		t.Error("OfProblems(nil) is not nil")
	}
}
