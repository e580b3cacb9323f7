package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"cortex.dev/cortex/internal/images"
)

// Programs of this checkout become an archive that says what it has. Those of Cortex
// would take minutes to compile.
func TestArchiveOfThisCheckout(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.tar")
	var out bytes.Buffer
	programs := map[string]program{"operator": {pkg: "./scripts/kube/pause"}, "server": {pkg: "./scripts/kube/pause", args: []string{"server"}, data: "/data"}}
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
		manifest, err := image.Index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		one, err := image.Index.Image(manifest.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := one.ConfigFile()
		if want := append([]string{"/cortex-" + image.Name}, programs[image.Name].args...); err != nil || !slices.Equal(config.Config.Entrypoint, want) {
			t.Errorf("the image %s starts %q (%v), want %q", image.Name, config.Config.Entrypoint, err, want)
		}
		if data, _ := entry(t, one, "data"); (data == nil) != (programs[image.Name].data == "") || data != nil && (data.Uid != 65532 || data.Mode != 0o700) {
			t.Errorf("the image %s has a folder for data that is %+v", image.Name, data)
		}
		if !trusts(t, one, "Amazon Root CA 1") {
			t.Errorf("the image %s trusts nobody whom AWS is certified by", image.Name)
		}
	}
}

// entry is what an image has by that name, and what it holds; nil when it has none.
func entry(t *testing.T, image v1.Image, name string) (*tar.Header, []byte) {
	t.Helper()
	files := tar.NewReader(mutate.Extract(image))
	for {
		header, err := files.Next()
		if err != nil {
			return nil, nil
		}
		if header.Name != name {
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		return header, text
	}
}

// trusts reports whether the authorities in an image, where Go looks for them, have one
// of that name.
func trusts(t *testing.T, image v1.Image, name string) bool {
	t.Helper()
	_, text := entry(t, image, "etc/ssl/certs/ca-certificates.crt")
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.Subject.CommonName == name {
			return true
		}
	}
	return false
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for says, s := range map[string]settings{
		"cannot be the tag": {tag: "v1+dirty"},
		"where to?":         {tag: "v1", push: true},
		"no program":        {tag: "v1", programs: map[string]program{"dequeuer": {}}},
	} {
		if err := s.run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("run(%+v) = %v, want an error with %q", s, err, says)
		}
	}
}
