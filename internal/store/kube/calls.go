package kube

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var _ store.Calls = (*Store)(nil)

// Who called what on one day is one Secret, whose name comes back when the day is not kept
// any more: nothing has to be listed or deleted. It is a Secret because names of callers are
// nobody else's business.
const (
	prefixCalls = "cortex-calls"
	day         = 24 * time.Hour
	callSlots   = int64(workload.CallsKept/day) + 2
)

// OtherCallers is who is counted together past what one day keeps.
const OtherCallers = "(others)"

// maxCallBytes bounds the calls of a day, compressed: some 30,000 rows.
const maxCallBytes = 900 << 10

// callsDay is the calls of one day.
type callsDay struct {
	Day  int64            `json:"day"` // since 1970
	Rows []workload.Calls `json:"rows"`
}

// AddCalls adds to the days that the calls are of, each day all or nothing.
func (s *Store) AddCalls(ctx context.Context, more []workload.Calls, now time.Time) error {
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	days := map[int64][]workload.Calls{}
	for _, c := range more {
		if !c.Hour.Before(now.Add(-workload.CallsKept)) {
			days[dayOf(c.Hour)] = append(days[dayOf(c.Hour)], c)
		}
	}
	for of, calls := range days {
		if err := s.addCalls(ctx, of, calls); err != nil {
			return err
		}
	}
	return nil
}

func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

func (s *Store) addCalls(ctx context.Context, of int64, more []workload.Calls) error {
	doing := "counting calls"
	defer s.names.exclude("calls")() // only other processes are in the way
	secrets := s.core.Secrets(s.cfg.SystemNamespace)
	for range tries {
		secret, kept, err := s.callsOf(ctx, of)
		if err != nil {
			return err
		}
		if kept.Day > of {
			return nil // it is not kept any more
		}
		if kept.Day < of {
			kept = callsDay{Day: of}
		}
		data, err := kept.with(more)
		if err != nil {
			return err
		}
		if secret == nil {
			meta := s.sharedMeta(prefixCalls, slotOf(of), "calls")
			_, err = secrets.Create(ctx, &core.Secret{ObjectMeta: meta, Data: map[string][]byte{dataValue: data}, Type: core.SecretTypeOpaque}, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			secret.Data = map[string][]byte{dataValue: data}
			_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || isMissing(err) {
			continue
		}
		return s.failure(ctx, doing, err)
	}
	return busy(doing)
}

func slotOf(day int64) string { return strconv.FormatInt(day%callSlots, 10) }

// callsOf reads the Secret in which a day is or would be; nil: there is none.
func (s *Store) callsOf(ctx context.Context, of int64) (*core.Secret, callsDay, error) {
	var kept callsDay
	secret, err := s.core.Secrets(s.cfg.SystemNamespace).Get(ctx, nameOfKey(prefixCalls, slotOf(of)), metav1.GetOptions{})
	if isMissing(err) {
		return nil, kept, nil
	}
	if err != nil {
		return nil, kept, s.failure(ctx, "reading calls", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(secret.Data[dataValue]))
	if err == nil {
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(r, 256<<20)); err == nil {
			err = json.Unmarshal(text, &kept)
		}
	}
	if err != nil {
		return nil, kept, fault.New(fault.Unavailable, "store.corrupt", "the calls in the secret %s cannot be read: %w", secret.Name, err).
			WithHint("delete the secret: with it goes who called on that day")
	}
	return secret, kept, nil
}

// with is d with more calls, as it is kept. What would take more than there is room for is
// counted of others together.
func (d callsDay) with(more []workload.Calls) ([]byte, error) {
	rows := map[workload.Calls]*workload.CallCounts{}
	add := func(c workload.Calls) {
		of := rowOf(c)
		if rows[of] == nil {
			rows[of] = &workload.CallCounts{}
		}
		rows[of].Add(c.CallCounts)
	}
	for _, c := range d.Rows {
		add(c)
	}
	known := len(rows)
	for _, c := range more {
		add(c)
	}
	data, err := d.encode(rows)
	if err != nil || len(data) <= maxCallBytes || len(rows) == known {
		return data, err
	}
	clear(rows)
	for _, c := range d.Rows {
		add(c)
	}
	for _, c := range more {
		if rows[rowOf(c)] == nil {
			c.Caller = OtherCallers
		}
		add(c)
	}
	return d.encode(rows)
}

// rowOf is whose calls c counts, and when.
func rowOf(c workload.Calls) workload.Calls {
	return workload.Calls{Hour: c.Hour.UTC(), API: c.API, Caller: c.Caller}
}

func (d callsDay) encode(rows map[workload.Calls]*workload.CallCounts) ([]byte, error) {
	d.Rows = nil
	for of, counts := range rows {
		of.CallCounts = *counts
		d.Rows = append(d.Rows, of)
	}
	sortCalls(d.Rows)
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return nil, fmt.Errorf("writing calls: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing calls: %w", err)
	}
	return out.Bytes(), nil
}

func sortCalls(all []workload.Calls) {
	slices.SortFunc(all, func(a, b workload.Calls) int {
		return cmp.Or(strings.Compare(a.API, b.API), a.Hour.Compare(b.Hour), strings.Compare(a.Caller, b.Caller))
	})
}

// EachCalls reads each of the days.
func (s *Store) EachCalls(ctx context.Context, api string, since time.Time, fn func(workload.Calls) error) error {
	from := dayOf(since)
	to := max(dayOf(time.Now())+1, from)
	if from < to-callSlots {
		from = to - callSlots + 1 // each slot once
	}
	var all []workload.Calls
	for of := from; of <= to; of++ {
		read, done := s.begin(ctx)
		_, kept, err := s.callsOf(read, of)
		done()
		if err != nil {
			return err
		}
		for _, c := range kept.Rows {
			if (api == "" || c.API == api) && !c.Hour.Before(since) {
				all = append(all, c)
			}
		}
	}
	sortCalls(all)
	for _, c := range all {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}
