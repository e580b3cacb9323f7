// Command images makes the images of Cortex: one of each program that runs on clusters,
// for every architecture, without Docker. The same checkout makes the same images.
//
//	images [-programs NAME,…] [-registry HOST/PATH] [-push] [-tag TAG] [-arch amd64,arm64] [-o FILE]
//
// Without -push they go into an archive for `cortex install --load-images`, `docker load`
// or `ctr images import`.
package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

// program is what an image starts.
type program struct {
	pkg  string
	args []string
	data string // see images.Image
}

// programs by the names of their images. The server is not for clusters.
var programs = map[string]program{
	"operator": {pkg: "./cmd/cortex-operator"}, "gateway": {pkg: "./cmd/cortex-gateway"}, "sidecar": {pkg: "./cmd/cortex-sidecar"}, "ledger": {pkg: "./cmd/cortex-ledger"},
	"server": {pkg: "./cmd/cortex", args: []string{"server", "--state-dir", "/data/server"}, data: "/data"},
}

// settings are the flags.
type settings struct {
	root     string // of the checkout
	programs map[string]program
	registry string
	tag      string
	archs    []string
	file     string
	push     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := settings{root: ".", programs: map[string]program{}}
	archs, names := "amd64,arm64", "operator,gateway,sidecar,ledger"
	flag.StringVar(&names, "programs", names, "what is built: these, or server")
	flag.StringVar(&s.registry, "registry", "", "where they are pushed, or what the archive calls them (cortex.dev)")
	flag.StringVar(&s.tag, "tag", "dev", "tag of all of them")
	flag.StringVar(&archs, "arch", archs, "architectures")
	flag.StringVar(&s.file, "o", "", "the archive (dist/cortex-images-TAG.tar)")
	flag.BoolVar(&s.push, "push", false, "push them to the registry")
	flag.Parse()
	s.archs = strings.Split(archs, ",")
	for name := range strings.SplitSeq(names, ",") {
		s.programs[name] = programs[name]
	}
	if err := s.run(ctx, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		if hint := fault.From(err).Hint; hint != "" {
			fmt.Fprintf(os.Stderr, "  %s\n", hint)
		}
		os.Exit(1) //nolint:gocritic // nothing is left to be undone
	}
}

// tags are what a registry takes as a tag.
var tags = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func (s settings) run(ctx context.Context, out io.Writer) error {
	for name, p := range s.programs {
		if p.pkg == "" {
			return fmt.Errorf("there is no program %q: operator, gateway, sidecar, ledger and server there are", name)
		}
	}
	switch {
	case !tags.MatchString(s.tag):
		return fmt.Errorf("%q cannot be the tag of an image: letters, digits, dots, dashes and underscores can; VERSION=… gives another", s.tag)
	case s.push && s.registry == "":
		return errors.New("where to? REGISTRY=host/path says it")
	}
	if s.registry == "" {
		s.registry = "cortex.dev"
	}
	dir, err := os.MkdirTemp("", "cortex-images-")
	if err != nil {
		return fmt.Errorf("making a folder for the programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var all []images.Named
	for _, name := range slices.Sorted(maps.Keys(s.programs)) {
		image, err := s.build(ctx, name, dir)
		if err != nil {
			return err
		}
		all = append(all, image)
	}
	if !s.push {
		return s.archive(out, all)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, image := range all {
		full := images.Reference(s.registry, image.Name, s.tag)
		digest, err := images.Push(ctx, full, image)
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		fmt.Fprintf(table, "%s\t%s\n", full, digest)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\ncortex install --set image.registry=%s --set image.tag=%s …\n", s.registry, s.tag)
	return nil
}

func (s settings) archive(out io.Writer, all []images.Named) error {
	if s.file == "" {
		s.file = filepath.Join(s.root, "dist", "cortex-images-"+s.tag+".tar")
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil { //nolint:gosec // of a checkout, as the compiler makes them
		return fmt.Errorf("writing the archive: %w", err)
	}
	if err := images.WriteArchive(s.file, s.registry, s.tag, all); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, image := range all {
		digest, err := image.Index.Digest()
		if err != nil {
			return fmt.Errorf("the image %s: %w", image.Name, err)
		}
		fmt.Fprintf(table, "%s\t%s\n", images.Reference(s.registry, image.Name, s.tag), digest)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\ncortex install --load-images %s --set image.registry=YOUR-REGISTRY --set image.tag=%s …\n", s.file, s.file, s.tag)
	return nil
}

// build compiles one program for every architecture and makes its image.
func (s settings) build(ctx context.Context, name, dir string) (images.Named, error) {
	roots := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(roots, authorities(), 0o644); err != nil { //nolint:gosec // everybody knows them
		return images.Named{}, fmt.Errorf("writing the certificate authorities: %w", err)
	}
	byArch := map[string]v1.Image{}
	for _, arch := range s.archs {
		file, inside := filepath.Join(dir, arch, name), "/cortex-"+name
		cmd := exec.CommandContext(ctx, "go", "build", "-C", s.root, "-trimpath", "-buildvcs=false", //nolint:gosec // programs of this checkout
			"-ldflags", "-s -w -X main.version="+s.tag, "-o", file, s.programs[name].pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			return images.Named{}, fmt.Errorf("building the %s for %s: %w\n%s", name, arch, err, text)
		}
		image, err := images.Image{
			Name: name, Files: map[string]string{inside: file, rootsPath: roots},
			Entrypoint: append([]string{inside}, s.programs[name].args...), Data: s.programs[name].data,
		}.Build(arch)
		if err != nil {
			return images.Named{}, err
		}
		byArch[arch] = image
	}
	return images.Join(name, byArch)
}

// rootsPath is where Go looks first. Without it nobody's certificate is trusted, that of
// AWS neither. An installation may mount its own there.
const rootsPath = "/etc/ssl/certs/ca-certificates.crt"

// authorities are those that Mozilla trusts without conditions, as PEM.
func authorities() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory
		}
	}
	return b.Bytes()
}
