package s3

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/jobs/jobstest"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
)

// quick are times for tests, in which nothing is paid for.
var quick = Times{Look: 100 * time.Millisecond, Beat: 200 * time.Millisecond, Life: 2 * time.Second, Sweep: 300 * time.Millisecond, Flush: 200 * time.Millisecond, Poll: time.Second}

func open(t testing.TB, a *s3test.AWS, prefix string) *Ledger {
	t.Helper()
	return Open(Config{Client: a.Client(nil), Bucket: a.Bucket, Prefix: prefix, Queues: "cx-test-", Times: quick})
}

// simulators are what the ledger is held against, and how many of a thousand requests go
// wrong there.
var simulators = []struct {
	name   string
	start  func(testing.TB) *s3test.AWS
	broken int64
}{
	{"moto", s3test.Start, 0},
	{"moto, broken", s3test.Start, 60},
	{"versity", s3test.StartVersity, 0},
	{"versity, broken", s3test.StartVersity, 60},
}

func TestLedger(t *testing.T) {
	t.Parallel()
	for _, tt := range simulators {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := tt.start(t)
			a.Break(tt.broken)
			var n atomic.Int64
			ledgertest.Run(t, func(*testing.T) ledgertest.Open {
				prefix := fmt.Sprint("items", n.Add(1), "/")
				return func(t *testing.T) (ledger.Ledger, func()) {
					l := open(t, a, prefix)
					return l, l.Close
				}
			})
			t.Cleanup(func() {
				if tt.broken > 0 && a.Faults() == 0 {
					t.Error("nothing went wrong")
				}
			})
		})
	}
}

func TestJobs(t *testing.T) {
	t.Parallel()
	for _, tt := range simulators {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := tt.start(t)
			a.Break(tt.broken)
			l := open(t, a, "uid/")
			jobstest.Records(t, l.Records())
			jobstest.Files(t, l.Files())
		})
	}
}
