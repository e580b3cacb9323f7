package images_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

// write makes a program with some content.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return file
}

func build(t *testing.T, arch, content string) v1.Image {
	t.Helper()
	image, err := images.Image{Name: "operator", Files: map[string]string{"/cortex-operator": write(t, content)}}.Build(arch)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func join(t *testing.T, name string, byArch map[string]v1.Image) images.Named {
	t.Helper()
	n, err := images.Join(name, byArch)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func both(t *testing.T, name string) images.Named {
	t.Helper()
	return join(t, name, map[string]v1.Image{"arm64": build(t, "arm64", name+" on arm"), "amd64": build(t, "amd64", name)})
}

func digest(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	hash, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

// newRegistry is a registry on this machine: its address.
func newRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/cortex"
}

func TestSameFilesMakeTheSameImage(t *testing.T) {
	t.Parallel()
	one, again, other := digest(t, build(t, "amd64", "one")), digest(t, build(t, "amd64", "one")), digest(t, build(t, "amd64", "other"))
	if one != again {
		t.Errorf("Build() of the same content = %s and %s, want the same", one, again)
	}
	if one == other {
		t.Errorf("Build() of other content = %s twice, want another", one)
	}
	if arm := digest(t, build(t, "arm64", "one")); arm == one {
		t.Error("Build() for another architecture is the same image")
	}
	config, err := build(t, "", "one").ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != runtime.GOARCH || config.Config.User != "65532:65532" {
		t.Errorf("Build(\"\") is for %s, user %s, want this machine's and nobody", config.Architecture, config.Config.User)
	}
}

func TestImageWithoutEntrypoint(t *testing.T) {
	t.Parallel()
	_, err := images.Image{Name: "x", Files: map[string]string{"/a": "a", "/b": "b"}}.Build("")
	if err == nil || !strings.Contains(err.Error(), "2 files and no entrypoint") {
		t.Errorf("Build() of two files without entrypoint = %v, want an error that says so", err)
	}
}

// An archive carries images, with all their architectures, to a registry.
func TestArchiveReachesARegistry(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.tar")
	all := []images.Named{both(t, "operator"), both(t, "sidecar")}
	if err := images.WriteArchive(file, "cortex.dev", "v1", all); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	if err := images.WriteArchive(again, "cortex.dev", "v1", all); err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, file), read(t, again); !bytes.Equal(a, b) {
		t.Error("WriteArchive() of the same images wrote other bytes")
	}
	archive, err := images.OpenArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := archive.Close(); err != nil {
			t.Error(err)
		}
	}()
	// As a Docker without a store of containerd reads it.
	tag, err := name.NewTag("cortex.dev/sidecar:v1")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(tarFile(t, mutate.Extract(loaded), "cortex-operator")); err != nil || string(text) != "sidecar" {
		t.Errorf("docker load reads the program %q, %v, want that of amd64", text, err)
	}
	to := newRegistry(t)
	refs := []string{to + "/operator:v1", to + "/sidecar:v1"}
	for _, f := range images.Find(t.Context(), refs) {
		if !f.Missing || f.Err != nil {
			t.Errorf("Find(%s) before = missing %v, %v, want that it is missing", f.Reference, f.Missing, f.Err)
		}
	}
	for i, n := range archive.Images {
		want := digest(t, all[i].Index)
		got, err := images.Push(t.Context(), refs[i]+"@sha256:0000000000000000000000000000000000000000000000000000000000000000", n)
		if err != nil || got != want || n.Name != all[i].Name {
			t.Errorf("Push(%s) = %s, %v, want %s of %s", n.Name, got, err, want, all[i].Name)
		}
	}
	for _, f := range images.Find(t.Context(), refs) {
		if f.Missing || f.Err != nil {
			t.Errorf("Find(%s) afterwards = missing %v, %v, want that it is there", f.Reference, f.Missing, f.Err)
		}
	}
	ref, err := name.ParseReference(refs[0])
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(tarFile(t, mutate.Extract(pulled), "cortex-operator"))
	if err != nil || string(text) != "operator on arm" {
		t.Errorf("the pulled program reads %q, %v, want that of arm64", text, err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tarFile(t *testing.T, from io.Reader, name string) io.Reader {
	t.Helper()
	all := tar.NewReader(from)
	for {
		header, err := all.Next()
		if err != nil {
			t.Fatalf("looking for %s: %v", name, err)
		}
		if header.Name == name {
			return all
		}
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.tar")
	if err := images.WriteArchive(file, "cortex.dev", "v1", []images.Named{both(t, "operator")}); err != nil {
		t.Fatal(err)
	}
	good := read(t, file)
	entry := func(header tar.Header, content string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		header.Size = int64(len(content))
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	flipped := bytes.Clone(good)
	flipped[bytes.Index(flipped, []byte("\x1f\x8b"))+20] ^= 1 // in a layer
	for what, tt := range map[string]struct {
		content []byte
		says    string
	}{
		"nothing":              {nil, "not an OCI archive"},
		"text":                 {[]byte(strings.Repeat("images ", 200)), "not a tar"},
		"half":                 {good[:len(good)/2], ""},
		"a flipped bit":        {flipped, "damaged"},
		"a file beside":        {append(entry(tar.Header{Name: "../evil"}, "x"), good...), "escapes"},
		"an absolute file":     {append(entry(tar.Header{Name: "/tmp/evil"}, "x"), good...), "escapes"},
		"a link":               {append(entry(tar.Header{Name: "blobs", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, ""), good...), "links"},
		"a file twice":         {append(entry(tar.Header{Name: "index.json"}, "{}"), good...), "exists"},
		"another's index":      {entry(tar.Header{Name: "index.json"}, `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:00"}]}`), ""},
		"an index of nothing":  {entry(tar.Header{Name: "index.json"}, `{"schemaVersion":2,"manifests":[]}`), "no images"},
		"an index that is not": {entry(tar.Header{Name: "index.json"}, `[`), "JSON"},
	} {
		bad := filepath.Join(t.TempDir(), "bad.tar")
		if err := os.WriteFile(bad, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := images.OpenArchive(bad)
		if fault.Code(err) != "images.archive" || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("OpenArchive() of %s = %v, %v, want images.archive with %q", what, a, err, tt.says)
		}
	}
}

func TestRegistriesThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ref, says := range map[string]string{
		"127.0.0.1:1/cortex/operator:v1": "cannot be reached",
		"UPPER/operator:v1":              "cannot be reached",
	} {
		found := images.Find(ctx, []string{ref})
		if len(found) != 1 || found[0].Missing || found[0].Err == nil || !strings.Contains(images.Why(found[0].Err), says) {
			t.Errorf("Find(%s) = %+v, want an error that says %q", ref, found, says)
		}
	}
	_, err := images.Push(ctx, "127.0.0.1:1/operator:v1", both(t, "operator"))
	if fault.Code(err) != "images.push" {
		t.Errorf("Push() to nobody = %v, want images.push", err)
	}
	_, err = images.Push(ctx, "no tag at all", both(t, "operator"))
	if fault.Code(err) != "images.push" || !strings.Contains(err.Error(), "not the name of an image") {
		t.Errorf("Push() of a wrong name = %v, want images.push that says so", err)
	}
}
