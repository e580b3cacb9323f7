package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// unpacked are the files of an archive, without their folder.
func unpacked(t *testing.T, data io.Reader) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(data)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(text)
	}
}

// unreached is an account whose clusters have no operator that anybody could ask.
type unreached struct{ Cloud }

func (u unreached) Info(ctx context.Context, name string) (*cluster.Status, error) {
	s, err := u.Cloud.Info(ctx, name)
	if s != nil {
		s.Operator = ""
	}
	return s, err
}

// `cluster info` writes the file that was asked for last, which changes nothing when the
// cluster is brought to it; and what is known, for whoever looks for what is wrong.
func TestInfoIntoFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	authority() // its server must not live in the bubble
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		root := d.aws.Root()
		d.as(root)
		ctx := t.Context()
		run := func(want int, words ...string) (out, told string) {
			t.Helper()
			code, out, told := d.cortex(ctx, words...)
			if code != want {
				t.Fatalf("cortex %s = %d, want %d\n%s%s", strings.Join(words, " "), code, want, out, told)
			}
			return out, told
		}
		file := d.file("cluster.yaml", irisFile+"    spot: true\nimage_proxy: registry.example.com/sidecar:2\ntags: {team: \"42\"}\n")
		run(0, "cluster", "up", file, "--yes")
		out, _ := run(0, "cluster", "info", "--print-config")
		for _, text := range []string{"cluster_name: iris\nregion: us-west-2\nnode_groups:\n  - name: cpu\n", "max_instances: 5\n", "vpc_cidr: 192.168.0.0/16\n", "iam_policy_arns:\n  - arn:aws:iam::aws:policy/AmazonS3FullAccess\n", "image_proxy: registry.example.com/sidecar:2\n", "team: \"42\"\n"} {
			if !strings.Contains(out, text) {
				t.Errorf("--print-config prints\n%s\nwithout %q", out, text)
			}
		}
		again := d.file("again.yaml", out)
		if out, _ := run(0, "cluster", "configure", again, "--yes"); !strings.Contains(out, "cluster iris is what") {
			t.Errorf("the file that --print-config prints would change the cluster:\n%s", out)
		}
		out, _ = run(0, "cluster", "info", "--print-config", "--output=json")
		var keys map[string]any
		if err := json.Unmarshal([]byte(out), &keys); err != nil || keys["image_proxy"] != "registry.example.com/sidecar:2" {
			t.Errorf("--print-config -o json prints %s, %v", out, err)
		}
		for _, words := range [][]string{{"--print-config", "--debug"}, {"--debug", "-o", "yaml"}} {
			if _, told := run(2, append([]string{"cluster", "info"}, words...)...); !strings.Contains(told, "cannot be used together") {
				t.Errorf("%v: %s", words, told)
			}
		}
		d.wrap = func(c Cloud) Cloud { return unreached{c} }
		out, told := run(0, "cluster", "info", "--debug")
		written, err := filepath.Glob("cortex-debug-*.tgz")
		if err != nil || len(written) != 1 || !strings.Contains(out, "wrote "+written[0]) {
			t.Fatalf("--debug says %q%s, and wrote %q, %v", out, told, written, err)
		}
		data, err := os.ReadFile(written[0])
		if err != nil {
			t.Fatal(err)
		}
		files := unpacked(t, bytes.NewReader(data))
		for name, text := range map[string]string{
			"about.json": "111122223333", "cluster.json": "cx-ws-cpu", "cluster.yaml": "instance_type: m5.large", "drift.json": "null", "health.json": "node_groups", "administrators.json": ":user/admin",
			"not-known.txt": "apis.json: cluster iris has no operator yet",
		} {
			if !strings.Contains(files[name], text) {
				t.Errorf("%s of the archive is %q, want %q in it", name, files[name], text)
			}
		}
		for name, text := range files {
			if strings.Contains(text, root.Secret) {
				t.Errorf("%s has the secret key", name)
			}
		}
	})
}

// Of each API there is its state, why it is so, and its logs; what it was deployed with has
// passwords in it.
func TestEvidenceOfAPIs(t *testing.T) {
	t.Parallel()
	service := &canned{
		Lists: [][]workload.APIResponse{{
			{Metadata: &workload.Metadata{Name: "iris"}, Spec: &workload.Deployed{Revision: workload.Revision{SubmittedAPISpec: map[string]any{"env": "hunter2"}}}},
			{Metadata: &workload.Metadata{Name: "../../etc"}},
		}},
		Explained: map[string]workload.Explanation{"iris": {}},
		LogLines:  []workload.LogLine{{Replica: "r1", Container: "api", Text: "out of memory"}},
		EventList: []workload.Event{{API: "iris", Reason: "ReplicaFailed"}},
		Faults:    map[string]*fault.Fault{"History": {Kind: fault.Unavailable, Message: "the store does not answer"}},
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	e := &evidence{tar: tar.NewWriter(w), at: time.Unix(0, 0), folder: "f"}
	if err := errors.Join(gatherAPIs(t.Context(), e, service), e.tar.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, &zipped)
	if !strings.Contains(files["apis/iris/logs.txt"], "r1 api out of memory") || !strings.Contains(files["apis/iris/events.json"], "ReplicaFailed") || files["apis/iris/explain.json"] == "" {
		t.Errorf("the files are %q", files)
	}
	if len(e.failed) != 1 || !strings.Contains(e.failed[0], "apis/iris/history.json: the store does not answer") {
		t.Errorf("not known is %q, want the history", e.failed)
	}
	for name, text := range files {
		if strings.Contains(name, "..") || strings.Contains(text, "hunter2") {
			t.Errorf("%s is %q", name, text)
		}
	}
}

// What a cluster was made from may not be known any more.
func TestConfigTextOfNothing(t *testing.T) {
	t.Parallel()
	if text, err := configText(&cluster.Status{ClusterName: "iris"}, yamlOut); fault.Code(err) != codeNotWhole || fault.From(err).Hint == "" {
		t.Errorf("configText = %q, %v, want %s and what to do", text, err, codeNotWhole)
	}
}
