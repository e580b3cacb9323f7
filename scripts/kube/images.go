package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	imagefiles "cortex.dev/cortex/internal/images"
	"cortex.dev/cortex/internal/kubetest"
)

// An image of this checkout: programs by their path in the image, and files of one
// folder that lie beside them.
type source struct {
	name     string
	programs map[string]string // package by path in the image
	files    map[string]string // file of the checkout by path in the image
}

// sources are the images that `images` makes.
func sources() []source {
	example := func(name string, files ...string) source {
		s := source{name: "example-" + name, programs: map[string]string{"/app/bin/server": "./examples/" + name + "/server"}, files: map[string]string{}}
		for _, file := range files {
			s.files["/app/"+file] = filepath.Join("examples", name, file)
		}
		return s
	}
	jobs := source{name: "example-jobs", programs: map[string]string{"/app/bin/worker": "./examples/jobs/worker"}, files: map[string]string{
		"/app/iris/model-v2.json": "examples/iris/model-v2.json", "/app/iris/iris.csv": "examples/iris/iris.csv",
	}}
	pod := example("pod", "cortex.yaml")
	pod.programs["/app/bin/reporter"] = "./examples/pod/reporter"
	return []source{
		{name: "operator", programs: map[string]string{"/cortex-operator": "./cmd/cortex-operator"}},
		{name: "gateway", programs: map[string]string{"/cortex-gateway": "./cmd/cortex-gateway"}},
		{name: "sidecar", programs: map[string]string{"/cortex-sidecar": "./cmd/cortex-sidecar"}},
		{name: "ledger", programs: map[string]string{"/cortex-ledger": "./cmd/cortex-ledger"}},
		{name: "sts", programs: map[string]string{"/sts": "./e2e/sts"}},
		{name: "test-server", programs: map[string]string{"/server": "./internal/engine/enginetest/testdata/server"}},
		example("iris", "model-v1.json", "model-v2.json"),
		example("streaming"), example("websocket"), example("grpc"), pod, jobs,
	}
}

// sources are those of the node: a cluster of EKS has what its account starts on it. The
// autoscaler of nodes has no nodes to add here; that it starts is all that it does.
func (n *node) sources() []source {
	all := sources()
	if n.eks == nil {
		return all
	}
	return append(slices.DeleteFunc(all, func(s source) bool {
		return !slices.Contains([]string{"operator", "gateway", "sidecar", "example-iris"}, s.name)
	}), source{name: "cluster-autoscaler", programs: map[string]string{"/cluster-autoscaler": "./scripts/kube/pause"}})
}

// images builds every image of this checkout whose programs are there, and loads
// them into the node. Their tag is made from what is in them: a node takes an image
// that it has for the one it is asked for.
func images(ctx context.Context, n *node) error {
	if err := requireRoot(n, "images"); err != nil {
		return err
	}
	if _, err := os.Stat(socket); err != nil {
		return errors.New("there is no node to load images into: make kube-up starts one")
	}
	var built []imagefiles.Image
	content := sha256.New()
	for _, s := range n.sources() {
		if missing := s.missing(n.root); missing != "" {
			fmt.Fprintf(n.out, "%-17s left out: this checkout has no %s\n", s.name, missing)
			continue
		}
		if err := n.step(s.name, func() (string, error) {
			image, err := n.build(ctx, s)
			built = append(built, image)
			return image.Name, errors.Join(err, addContent(content, image))
		}); err != nil {
			return err
		}
	}
	tag := fmt.Sprintf("dev-%.6x", content.Sum(nil))
	if n.eks != nil {
		tag = eksTag
	}
	if err := n.step("images", func() (string, error) {
		for _, image := range built {
			image.Name += ":" + tag
			if _, err := n.containerd().Load(ctx, image); err != nil {
				return "", err
			}
		}
		return "loaded as " + tag, os.WriteFile(n.path("tag"), []byte(tag), 0o600)
	}); err != nil {
		return err
	}
	return n.giveBack()
}

// addContent adds the name of an image and of its files, and what is in them.
func addContent(to io.Writer, image imagefiles.Image) error {
	fmt.Fprintf(to, "%q\n", image.Name)
	for _, target := range slices.Sorted(maps.Keys(image.Files)) {
		text, err := os.ReadFile(image.Files[target])
		if err != nil {
			return fmt.Errorf("reading what goes into %s: %w", image.Name, err)
		}
		fmt.Fprintf(to, "%q %x\n", target, sha256.Sum256(text))
	}
	return nil
}

// imageTag is the tag of the images that were loaded last.
func (n *node) imageTag() (string, error) {
	tag, err := os.ReadFile(n.path("tag"))
	if err != nil {
		return "", fmt.Errorf("no images were loaded: make kube-up does that: %w", err)
	}
	return string(tag), nil
}

func (s source) missing(root string) string {
	for _, pkg := range s.programs {
		if _, err := os.Stat(filepath.Join(root, pkg)); err != nil {
			return pkg
		}
	}
	return ""
}

// build makes the image of a source; its name has no tag yet.
func (n *node) build(ctx context.Context, s source) (imagefiles.Image, error) {
	image := imagefiles.Image{Name: "cortex.dev/" + s.name, Files: map[string]string{}}
	for target, pkg := range s.programs {
		file := n.path("images", s.name, filepath.Base(target))
		if err := n.buildStatic(ctx, pkg, file); err != nil {
			return image, err
		}
		image.Files[target] = file
		if strings.HasSuffix(target, "/server") || len(s.programs) == 1 {
			image.Entrypoint = []string{target}
		}
	}
	for target, file := range s.files {
		image.Files[target] = filepath.Join(n.root, file)
	}
	if strings.HasPrefix(s.name, "example-") {
		image.Dir = "/app"
	}
	for target, file := range n.trusted(s) {
		image.Files[target] = file
	}
	return image, nil
}

func (n *node) containerd() kubetest.Node {
	return kubetest.Node{Socket: socket, Ctr: n.program("ctr")}
}

// loadPause makes and loads the image that holds every pod.
func (n *node) loadPause(ctx context.Context) error {
	file := n.path("images", "pause")
	if err := n.buildStatic(ctx, "./scripts/kube/pause", file); err != nil {
		return err
	}
	_, err := n.containerd().Load(ctx, imagefiles.Image{Name: pauseImage, Files: map[string]string{"/pause": file}})
	if err != nil {
		return fmt.Errorf("loading the pause image: %w", err)
	}
	return nil
}

func (n *node) buildStatic(ctx context.Context, pkg, file string) error {
	goTool, err := findGo()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, goTool, "build", "-C", n.root, "-buildvcs=false", //nolint:gosec // packages of this checkout
		"-ldflags", "-s -w", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}
