package solo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// filledState is a state folder with an API, an item with a large payload and a job.
func filledState(t *testing.T) (dir, item string) {
	t.Helper()
	dir = t.TempDir()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	st, err := bolt.Open(ctx, bolt.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Record(ctx, workload.Event{API: "iris", Reason: "Deployed", Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	kept, err := openItems(ctx, Config{Local: hostconfig.Local{StateDir: dir}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	id := ledger.NewID(now)
	blob := "iris/" + id + ".payload"
	if err := kept.blobs.Put(blob, strings.NewReader("a large payload")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kept.ledger.Create(ctx, ledger.Item{API: "iris", ID: id, Version: 1, State: ledger.Queued, Accepted: now, Updated: now, Payload: &ledger.Content{Size: 15, Digest: digestOf("a large payload"), Blob: blob}}, ledger.Key{}, nil); err != nil {
		t.Fatal(err)
	}
	output := []byte(`{"index":0,"status":200,"body":"yes"}` + "\n")
	record, err := json.Marshal(map[string]any{"api": "classify", "id": "j1", "kind": workload.BatchJob, "status": "succeeded", "ended": now, "batches": 1, "item_bytes": 4, "output_bytes": len(output)})
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.records.Write(ctx, "test", map[string][]byte{"j/classify\x00j1": record, "c/classify\x00j1\x00\x00": []byte(`{"count":1}`)}); err != nil {
		t.Fatal(err)
	}
	manifest := `{"files":[{"name":"output.jsonl","bytes":37,"sha256":"` + digestOf(string(output)) + `"}]}`
	for name, data := range map[string][]byte{"batches.jsonl": []byte("[1]\n"), "output.jsonl": output, "manifest.json": []byte(manifest)} {
		if _, err := kept.jobs.Put(ctx, "classify/j1/"+name, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	kept.close()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, id
}

// snapshot is every file below a folder.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

// Verify names what is damaged, and changes nothing.
func TestVerify(t *testing.T) {
	t.Parallel()
	dir, item := filledState(t)
	v, err := Verify(t.Context(), dir)
	if err != nil || len(v.Damaged) > 0 || v.Contents != 1 || v.Jobs != 1 || v.Records < 4 {
		t.Fatalf("Verify() = %+v, %v; want nothing damaged", v, err)
	}
	for _, tt := range []struct {
		name, file, old, new string
		want                 hostconfig.Damaged
	}{
		{"a payload", "items/contents/iris/" + item + ".payload", "large", "Large", hostconfig.Damaged{What: "payload", API: "iris", Name: item, Problem: "it does not match its checksum"}},
		{"a payload cut", "items/contents/iris/" + item + ".payload", "payload", "", hostconfig.Damaged{What: "payload", API: "iris", Name: item, Problem: "it has 8 bytes, and should have 15"}},
		{"the result of a job", "jobs/files/classify/j1/output.jsonl", "yes", "yet", hostconfig.Damaged{What: "job", API: "classify", Name: "j1", Problem: "it does not match its checksum"}},
		{"the batches of a job", "jobs/files/classify/j1/batches.jsonl", "[1]\n", "[", hostconfig.Damaged{What: "job", API: "classify", Name: "j1", Problem: "it has 1 bytes, and should have 4"}},
		{"the record of a job", "jobs/records/state.db", `"id":"j1"`, `"id":"j2"`, hostconfig.Damaged{What: "job", API: "classify", Name: "j1", Problem: "its record does not match its checksum"}},
		{"an item", "items/state.db", `"state":"queued"`, `"state":"queueD"`, hostconfig.Damaged{What: "item", API: "iris", Name: item, Problem: "its record does not match its checksum"}},
		{"an event", "store/state.db", "Deployed", "deployed", hostconfig.Damaged{What: "event", API: "iris", Problem: "its record does not match its checksum"}},
	} {
		path := filepath.Join(dir, tt.file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.ReplaceAll(good, []byte(tt.old), []byte(tt.new))
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: %s does not have %q", tt.name, tt.file, tt.old)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		v, err := Verify(t.Context(), dir)
		tt.want.File = tt.file
		if err != nil || !slices.Contains(v.Damaged, tt.want) {
			t.Errorf("%s: Verify() = %+v, %v; want %+v", tt.name, v.Damaged, err, tt.want)
		}
		if !maps.Equal(before, snapshot(t, dir)) {
			t.Errorf("%s: Verify changed something", tt.name)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Verify(t.Context(), t.TempDir()); fault.Code(err) != "local.no_state" {
		t.Errorf("Verify() of an empty folder = %v", err)
	}
}
