package async

import (
	"bytes"
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/schedule"
)

// Fields by which a container knows which run of a schedule an item is.
const (
	fieldSchedule  = "X-Cortex-Schedule"
	fieldScheduled = "X-Cortex-Scheduled-Time"
)

// scheduled begins the items of schedules.
type scheduled struct{ *Service }

// Scheduled returns what begins an item for each run of a schedule of an AsyncAPI.
func (s *Service) Scheduled() schedule.Runner { return scheduled{s} }

// Begin implements schedule.Runner. Its keys begin with a character that no field of a
// request can have, so that no caller uses one of them.
func (s scheduled) Begin(ctx context.Context, api string, r schedule.Run) (string, error) {
	body, contentType := r.Schedule.Payload.Body()
	item, _, err := s.take(ctx, api, options{}, arrived{
		host: "localhost", contentType: contentType, length: int64(len(body)), body: bytes.NewReader(body),
		fields: [][2]string{{fieldSchedule, r.Schedule.Name}, {fieldScheduled, r.Time.UTC().Format(time.RFC3339)}},
		key:    "\x01" + r.ID, fingerprint: "schedule", keyKept: r.KeepID, // one run, whatever its payload has become since
	}, time.Now().UTC())
	return item.ID, err
}

// State implements schedule.Runner.
func (s scheduled) State(ctx context.Context, api, id string) (schedule.State, error) {
	i, err := s.cfg.Ledger.Get(ctx, api, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return schedule.Gone, nil
	case err != nil:
		return "", err
	case !i.State.Ended():
		return schedule.Running, nil
	}
	return map[ledger.State]schedule.State{
		ledger.Succeeded: schedule.Succeeded, ledger.Failed: schedule.Failed, ledger.Expired: schedule.Failed, ledger.Cancelled: schedule.Cancelled,
	}[i.State], nil
}

// Cancel implements schedule.Runner.
func (s scheduled) Cancel(ctx context.Context, api, id string) error {
	_, err := s.Service.Cancel(ctx, api, id)
	return err
}
