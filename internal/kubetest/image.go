package kubetest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is an image to be: files and how to start them. There is no distribution
// in it, so programs must be static.
type Image struct {
	// Name is the name with or without a tag; without one the content is the tag.
	Name string
	// Files are the files of this machine by their path in the image.
	Files map[string]string
	// Entrypoint is the command; empty when there is one file, which then is it.
	Entrypoint []string
	// Dir is the working directory, / when empty.
	Dir string
}

// The user of every image, who owns nothing: what a hardened pod asks for.
const nobody = "65532:65532"

// Node is where images go: the containerd of a node.
type Node struct {
	Socket string `json:"containerd"`
	Ctr    string `json:"ctr"` // the program
}

// LoadImage builds an image of the files, which are named by their path in the
// image, and loads it into the node of `make kube-up`. It returns the reference to
// write into a pod: with a tag of its content when the name has no tag. Without an
// entrypoint the one file is it.
func LoadImage(ctx context.Context, name string, files map[string]string, entrypoint ...string) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "bin", "kube", "node.json"))
	if err != nil {
		return "", fmt.Errorf("finding the node of make kube-up: %w", err)
	}
	var node Node
	if err := json.Unmarshal(text, &node); err != nil {
		return "", fmt.Errorf("reading node.json: %w", err)
	}
	return Image{Name: name, Files: files, Entrypoint: entrypoint}.Load(ctx, node)
}

// Load builds the image, loads it into a node and returns its reference.
func (i Image) Load(ctx context.Context, node Node) (string, error) {
	image, err := i.Build()
	if err != nil {
		return "", err
	}
	ref, err := i.reference(image)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp("", "image-*.tar")
	if err != nil {
		return "", fmt.Errorf("writing the image %s: %w", i.Name, err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	err = errors.Join(tarball.Write(ref, image, file), file.Close())
	if err != nil {
		return "", fmt.Errorf("writing the image %s: %w", i.Name, err)
	}
	cmd := exec.CommandContext(ctx, node.Ctr, "--address", node.Socket, "--namespace", "k8s.io", "images", "import", file.Name()) //nolint:gosec // of the node
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("loading the image %s: %w: %s", i.Name, err, bytes.TrimSpace(text))
	}
	return ref.String(), nil
}

func (i Image) reference(image v1.Image) (name.Tag, error) {
	if full := i.Name; strings.Contains(full[strings.LastIndex(full, "/")+1:], ":") {
		ref, err := name.NewTag(full)
		if err != nil {
			return name.Tag{}, fmt.Errorf("naming the image: %w", err)
		}
		return ref, nil
	}
	digest, err := image.ConfigName() // of the content alone
	if err != nil {
		return name.Tag{}, fmt.Errorf("naming the image: %w", err)
	}
	ref, err := name.NewTag(i.Name + ":" + digest.Hex[:16])
	if err != nil {
		return name.Tag{}, fmt.Errorf("naming the image: %w", err)
	}
	return ref, nil
}

// Build makes the image. The same files make the same one.
func (i Image) Build() (v1.Image, error) {
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
		OS: "linux", Architecture: runtime.GOARCH,
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
		_, err = writer.Write(nil)
		errs = append(errs, err, writer.WriteHeader(header))
		_, err = writer.Write(text)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, writer.Close())...); err != nil {
		return nil, fmt.Errorf("building the image %s: %w", i.Name, err)
	}
	return out.Bytes(), nil
}

// BuildStatic builds a program of this checkout, named by its package, into a file: a
// static one, for an image.
func BuildStatic(ctx context.Context, pkg, file string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-C", root, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file, pkg) //nolint:gosec // of this checkout
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}
