// Package images makes, carries and finds container images without Docker: an image of
// static programs, an archive of images for machines that reach no registry, and the
// question whether a registry has what is to be started.
//
// It promises that the same files make the same image, byte for byte; that an archive
// which is damaged or not one is refused before anything is pushed; and that it waits for
// no registry longer than its context allows. It must not decide which images there are.
package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is an image to be: files and how to start them. There is no distribution
// in it, so programs must be static.
type Image struct {
	Name string // for messages
	// Files are the files of this machine by their path in the image.
	Files map[string]string
	// Entrypoint is the command; empty when there is one file, which then is it.
	Entrypoint []string
	// Dir is the working directory, / when empty.
	Dir string
	// Data is a folder that the user of the image owns, for a volume; empty: none.
	Data string
}

// The user of every image, who owns nothing: what a hardened pod asks for.
const (
	nobody = "65532:65532"
	userID = 65532
)

// Build makes the image for an architecture, such as amd64; empty: this machine's. The
// same files make the same image.
func (i Image) Build(arch string) (v1.Image, error) {
	if arch == "" {
		arch = runtime.GOARCH
	}
	entrypoint := i.Entrypoint
	if len(entrypoint) == 0 {
		if len(i.Files) != 1 {
			return nil, fmt.Errorf("the image %s has %d files and no entrypoint", i.Name, len(i.Files))
		}
		entrypoint = slices.Collect(maps.Keys(i.Files))
	}
	content, err := i.layer()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: arch,
		Config: v1.Config{User: nobody, Entrypoint: entrypoint, WorkingDir: i.Dir, Env: []string{"PATH=/bin"}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(layer)},
	})
	if err != nil {
		return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
	}
	return image, nil
}

func diffIDs(layer v1.Layer) []v1.Hash {
	id, err := layer.DiffID()
	if err != nil { // of bytes in memory
		return nil
	}
	return []v1.Hash{id}
}

// layer is a tar of the files, the folders above them, and a /tmp for everyone.
func (i Image) layer() ([]byte, error) {
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	folders := map[string]int64{"/tmp": 0o1777}
	for target := range i.Files {
		for dir := path.Dir(path.Clean("/" + target)); dir != "/"; dir = path.Dir(dir) {
			if folders[dir] == 0 {
				folders[dir] = 0o755
			}
		}
	}
	epoch := time.Unix(0, 0)
	var errs []error
	if i.Data != "" {
		errs = append(errs, writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: i.Data[1:] + "/", Mode: 0o700, Uid: userID, Gid: userID, ModTime: epoch}))
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		errs = append(errs, writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: folders[dir], ModTime: epoch}))
	}
	for _, target := range slices.Sorted(maps.Keys(i.Files)) {
		text, err := os.ReadFile(i.Files[target])
		if err != nil {
			return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
		}
		info, err := os.Stat(i.Files[target])
		if err != nil {
			return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean("/" + target)[1:], Size: int64(len(text)), Mode: mode, ModTime: epoch}
		errs = append(errs, writer.WriteHeader(header))
		_, err = writer.Write(text)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, writer.Close())...); err != nil {
		return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
	}
	return out.Bytes(), nil
}
