package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// Only what is of a virtual environment is said, once, and only of what was deployed.
func TestSayPrograms(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	bin := filepath.Join(root, "venv", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "venv", "pyvenv.cfg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	python, uvicorn := filepath.Join(bin, "python3"), filepath.Join(bin, "uvicorn")
	deployed := func(action workload.Action, refused string, found map[string]string) workload.DeployResult {
		var rev workload.Revision
		rev.Programs = &workload.Programs{Found: found}
		return workload.DeployResult{API: &workload.APIResponse{Spec: rev.Shown()}, Action: action, Error: refused}
	}
	a := testApp(t)
	a.sayPrograms([]workload.DeployResult{
		deployed(workload.ActionCreate, "", map[string]string{"uvicorn": uvicorn, "python3": python, "sh": "/bin/sh"}),
		deployed(workload.ActionUpdate, "", map[string]string{"python3": python}),
		deployed(workload.ActionNone, "", map[string]string{"unchanged": python}),
		deployed("", "error: no", map[string]string{"refused": python}),
		{API: &workload.APIResponse{Spec: &workload.Deployed{}}, Action: workload.ActionCreate}, // of images only
		{Action: workload.ActionCreate},
	})
	want := "python3 → " + python + "\nuvicorn → " + uvicorn + "\n"
	if got := a.streams.Err.(*bytes.Buffer).String(); got != want {
		t.Errorf("sayPrograms() =\n%s\nwant\n%s", got, want)
	}
}
