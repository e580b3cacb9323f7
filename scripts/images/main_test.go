package main

import (
	"bytes"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/images"
)

// Programs of this checkout become an archive that says what it has. Those of Cortex
// would take minutes to compile.
func TestArchiveOfThisCheckout(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.tar")
	var out bytes.Buffer
	programs := map[string]string{"operator": "./scripts/kube/pause", "sidecar": "./scripts/kube/pause"}
	s := settings{root: "../..", programs: programs, tag: "v1", archs: []string{runtime.GOARCH}, file: file}
	if err := s.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	archive, err := images.OpenArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	if len(archive.Images) != len(programs) {
		t.Errorf("the archive has %d images, want %d", len(archive.Images), len(programs))
	}
	for _, image := range archive.Images {
		digest, err := image.Index.Digest()
		if err != nil || !strings.Contains(out.String(), "cortex.dev/"+image.Name+":v1  ") || !strings.Contains(out.String(), digest.String()) {
			t.Errorf("the archive has %s (%s, %v), which the output does not tell:\n%s", image.Name, digest, err, out.String())
		}
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for says, s := range map[string]settings{
		"cannot be the tag": {tag: "v1+dirty"},
		"where to?":         {tag: "v1", push: true},
	} {
		if err := s.run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("run(%+v) = %v, want an error with %q", s, err, says)
		}
	}
}
