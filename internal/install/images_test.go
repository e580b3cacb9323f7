package install

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

// archiveOf writes an archive of images with the given names.
func archiveOf(t *testing.T, names ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []images.Named
	for _, name := range names {
		image, err := images.Image{Name: name, Files: map[string]string{"/" + name: program}}.Build("")
		n, joined := images.Join(name, map[string]v1.Image{"amd64": image})
		if err := errors.Join(err, joined); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	file := filepath.Join(t.TempDir(), "images.tar")
	if err := images.WriteArchive(file, "cortex.dev", "1.2.3", all); err != nil {
		t.Fatal(err)
	}
	return file
}

// The images of what the chart starts are looked for, and no others.
func TestImagesOfTheChart(t *testing.T) {
	t.Parallel()
	three := []string{"cortex.dev/gateway:1.2.3", "cortex.dev/operator:1.2.3", "cortex.dev/sidecar:1.2.3"}
	for name, tt := range map[string]struct {
		items map[string]any
		want  []string
	}{
		"items nowhere":     {nil, three},
		"items of servers":  {map[string]any{"servers": 3}, []string{three[0], "cortex.dev/ledger:1.2.3", three[1], three[2]}},
		"items of somebody": {map[string]any{"url": "nats://nats:4222", "secretName": "nats"}, three},
	} {
		cfg := Config{Namespace: "cortex", Version: "1.2.3", Values: map[string]any{"account": "123456789012", "region": "us-west-2"}}
		if tt.items != nil {
			cfg.Values["items"] = tt.items
		}
		w := &work{cfg: cfg}
		c, err := w.chart()
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := render(c, cfg)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := decode(manifest)
		if err != nil {
			t.Fatal(err)
		}
		got := imagesOf(objects)
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: imagesOf() (-want +got):\n%s", name, diff)
		}
	}
}

// What a registry lacks is told before anything is written; an archive brings it there.
func TestImagesAreLookedForAndLoaded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	at := strings.TrimPrefix(server.URL, "http://") + "/own"
	cfg := s.Config
	cfg.Values = Merge(cfg.Values, map[string]any{"image": map[string]any{"registry": at, "pullPolicy": "IfNotPresent"}})

	_, err := Install(t.Context(), cfg)
	if fault.Code(err) != "install.preflight" || !strings.Contains(err.Error(), "the image "+at+"/sidecar:1.2.3 does not exist") {
		t.Errorf("Install() without images = %v, want a refusal that names them", err)
	}
	cfg.Images = archiveOf(t, "operator", "gateway")
	if _, err = Install(t.Context(), cfg); fault.Code(err) != "images.archive" || !strings.Contains(err.Error(), "no image for "+at+"/sidecar") {
		t.Errorf("Install() with half an archive = %v, want a refusal that names what is missing", err)
	}
	if len(s.steps) != 0 {
		t.Errorf("the refused installations did %q, want nothing", s.steps)
	}
	cfg.Images = archiveOf(t, "operator", "gateway", "sidecar")
	if _, err := Install(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if want := "images: 3 pushed to " + at; !slices.Contains(s.steps, want) {
		t.Errorf("the installation did %q, want %q among it", s.steps, want)
	}
	cfg.Images = ""
	if _, err := Upgrade(t.Context(), cfg); err != nil {
		t.Errorf("Upgrade() with the images there = %v", err)
	}
}
