package solo

import (
	"context"
	"path/filepath"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/store/bolt"
)

// items is where the items of AsyncAPIs are kept, and the jobs of BatchAPIs and TaskAPIs.
type items struct {
	ledger  *bolt.Items
	blobs   *async.Folder
	records *bolt.Keyed
	jobs    jobs.Folder // of what they are made of, and have made
}

// openItems opens it beside the state, in a folder of its own.
func openItems(ctx context.Context, cfg Config) (items, error) {
	dir := filepath.Join(cfg.StateDir, "items")
	kept, err := bolt.OpenItems(ctx, bolt.Config{Dir: dir, Log: cfg.Log})
	if err != nil {
		return items{}, err
	}
	folder := filepath.Join(cfg.StateDir, "jobs")
	records, err := bolt.OpenKeyed(ctx, bolt.Config{Dir: filepath.Join(folder, "records"), Log: cfg.Log})
	if err != nil {
		_ = kept.Close() // nothing was written
		return items{}, err
	}
	return items{ledger: kept, blobs: async.NewFolder(filepath.Join(dir, "contents")).Within(kept.Room), records: records, jobs: jobs.Folder(filepath.Join(folder, "files"))}, nil
}

func (i items) close() { // what was written is on the disk
	_ = i.ledger.Close()
	_ = i.records.Close()
}
