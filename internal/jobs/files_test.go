package jobs_test

import (
	"path/filepath"
	"testing"

	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/jobs/jobstest"
	"cortex.dev/cortex/internal/store/bolt"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	jobstest.Files(t, jobs.Folder(filepath.Join(t.TempDir(), "jobs")))
}

func TestRecordsOfOneMachine(t *testing.T) {
	t.Parallel()
	r, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	jobstest.Records(t, r)
}
