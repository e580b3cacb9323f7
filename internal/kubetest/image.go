package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"cortex.dev/cortex/internal/images"
)

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
	node, err := findNode()
	if err != nil {
		return "", err
	}
	return node.Load(ctx, images.Image{Name: name, Files: files, Entrypoint: entrypoint})
}

// TagImages gives images of the node of `make kube-up` another tag too.
func TagImages(ctx context.Context, tag, next string, names ...string) error {
	node, err := findNode()
	if err != nil {
		return err
	}
	for _, name := range names {
		cmd := exec.CommandContext(ctx, node.Ctr, "--address", node.Socket, "--namespace", "k8s.io", "images", "tag", "--force", name+":"+tag, name+":"+next) //nolint:gosec // of the node
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("tagging the image %s: %w: %s", name, err, bytes.TrimSpace(text))
		}
	}
	return nil
}

// findNode reads how the node of `make kube-up` takes images.
func findNode() (Node, error) {
	var node Node
	root, err := findRoot()
	if err != nil {
		return node, err
	}
	text, err := os.ReadFile(filepath.Join(root, "bin", "kube", "node.json"))
	if err != nil {
		return node, fmt.Errorf("finding the node of make kube-up: %w", err)
	}
	if err := json.Unmarshal(text, &node); err != nil {
		return node, fmt.Errorf("reading node.json: %w", err)
	}
	return node, nil
}

// Load builds an image, loads it into the node and returns its reference. Its name may
// have a tag; without one its content is the tag.
func (n Node) Load(ctx context.Context, i images.Image) (string, error) {
	image, err := i.Build("")
	if err != nil {
		return "", err
	}
	ref, err := reference(i.Name, image)
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
	cmd := exec.CommandContext(ctx, n.Ctr, "--address", n.Socket, "--namespace", "k8s.io", "images", "import", file.Name()) //nolint:gosec // of the node
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("loading the image %s: %w: %s", i.Name, err, bytes.TrimSpace(text))
	}
	return ref.String(), nil
}

func reference(full string, image v1.Image) (name.Tag, error) {
	if strings.Contains(full[strings.LastIndex(full, "/")+1:], ":") {
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
	ref, err := name.NewTag(full + ":" + digest.Hex[:16])
	if err != nil {
		return name.Tag{}, fmt.Errorf("naming the image: %w", err)
	}
	return ref, nil
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
