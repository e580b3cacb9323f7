package images

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"cortex.dev/cortex/internal/fault"
)

// Bounds of an archive that is read: those of Cortex's own programs are far below.
const (
	maxArchive = 4 << 30 // bytes
	maxFiles   = 1000
)

// Where the index of an archive says what its images are called: the first is ours, the
// second is what containerd, Docker and Podman read.
const (
	nameKey = "dev.cortex.image"
	fullKey = "io.containerd.image.name"
	tagKey  = "org.opencontainers.image.ref.name"
)

// Named is an image of all its architectures.
type Named struct {
	Name  string // such as operator: what stands behind the registry
	Index v1.ImageIndex
}

// Join makes one image of those of several architectures.
func Join(name string, byArch map[string]v1.Image) (Named, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range slices.Sorted(maps.Keys(byArch)) {
		image := mutate.MediaType(mutate.ConfigMediaType(byArch[arch], types.OCIConfigJSON), types.OCIManifestSchema1)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	if _, err := index.Digest(); err != nil {
		return Named{}, fmt.Errorf("building the image %s: %w", name, err)
	}
	return Named{name, index}, nil
}

// WriteArchive writes images into one file, an OCI image layout in a tar, which
// `ctr images import`, `docker load` and OpenArchive read. A Docker that keeps images
// itself takes those of the first architecture. Registry and tag are their names there.
// The same images make the same bytes.
func WriteArchive(file, registry, tag string, all []Named) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the archive %s: %w", file, err)
		}
	}()
	dir, err := os.MkdirTemp(filepath.Dir(file), ".images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := to.AppendIndex(n.Index, layout.WithAnnotations(map[string]string{nameKey: n.Name, fullKey: Reference(registry, n.Name, tag), tagKey: tag})); err != nil {
			return err
		}
	}
	if err := forDocker(dir, registry, tag, all); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".images-*.tar")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	if err := errors.Join(pack(out, dir), out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

// forDocker writes the index that a Docker without a store of containerd reads, into the
// folder of a layout.
func forDocker(dir, registry, tag string, all []Named) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var entries []entry
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	for _, n := range all {
		archs, err := n.Index.IndexManifest()
		if err != nil {
			return err
		}
		image, err := n.Index.Image(archs.Manifests[0].Digest)
		if err != nil {
			return err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		e := entry{Config: blob(manifest.Config.Digest), RepoTags: []string{Reference(registry, n.Name, tag)}}
		for _, layer := range manifest.Layers {
			e.Layers = append(e.Layers, blob(layer.Digest))
		}
		entries = append(entries, e)
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o600)
}

// pack writes a folder as a tar that says nothing of this machine or of now.
func pack(to io.Writer, dir string) error {
	out := tar.NewWriter(to)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // in order
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		in, err := os.Open(path) //nolint:gosec // of our own folder
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Size: info.Size(), Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return err
	})
	return errors.Join(err, out.Close())
}

// Archive is an opened archive. Close it.
type Archive struct {
	Images []Named
	dir    string
}

// Close removes what OpenArchive has unpacked.
func (a *Archive) Close() error { return os.RemoveAll(a.dir) }

// OpenArchive reads an archive of WriteArchive, into a folder for temporary files, and
// looks at every byte of it. Its fault is images.archive.
func OpenArchive(file string) (*Archive, error) {
	dir, err := os.MkdirTemp("", "cortex-images-")
	if err != nil {
		return nil, fmt.Errorf("reading the archive %s: %w", file, err)
	}
	a := &Archive{dir: dir}
	if err := a.open(file); err != nil {
		return nil, errors.Join(fault.New(fault.Invalid, "images.archive", "reading the archive %s: %w", file, err).
			WithHint("`make images` writes dist/cortex-images-VERSION.tar; was it copied whole?"), a.Close())
	}
	return a, nil
}

func (a *Archive) open(file string) error {
	if err := unpack(file, a.dir); err != nil {
		return err
	}
	from, err := layout.ImageIndexFromPath(a.dir)
	if err != nil {
		return fmt.Errorf("it is not an OCI archive of images: %w", err)
	}
	manifest, err := from.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		name := d.Annotations[nameKey]
		if name == "" || !d.MediaType.IsIndex() {
			return fmt.Errorf("it has an image that is not Cortex's (%s)", d.Annotations[fullKey])
		}
		index, err := from.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		if err := validate.Index(index); err != nil {
			return fmt.Errorf("the image %s is damaged: %w", name, err)
		}
		a.Images = append(a.Images, Named{name, index})
	}
	if len(a.Images) == 0 {
		return errors.New("it has no images")
	}
	return nil
}

// unpack writes the files of a tar below dir, and nothing anywhere else.
func unpack(file, dir string) error {
	in, err := os.Open(file) //nolint:gosec // named by the user
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	below, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = below.Close() }()
	from, left, files := tar.NewReader(in), int64(maxArchive), 0
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is not a tar, or not a whole one: %w", err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		files++
		left -= header.Size
		if header.Typeflag != tar.TypeReg || files > maxFiles || left < 0 {
			return fmt.Errorf("%s does not belong into an archive of images: links, more than %d files and more than %d GB are refused", header.Name, maxFiles, maxArchive>>30)
		}
		if err := unpackFile(below, filepath.FromSlash(header.Name), from); err != nil {
			return err
		}
	}
}

func unpackFile(below *os.Root, name string, from io.Reader) error {
	if err := below.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	out, err := below.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from) //nolint:gosec // the tar says how much, and that is bounded
	return errors.Join(err, out.Close())
}
