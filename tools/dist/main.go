// Command dist makes what a release needs, into a folder: an archive of the programs for
// each platform with completions and a man page, an SBOM of each, packages for Debian and
// Red Hat, wheels that bring the command line, a formula for Homebrew, the image of
// `cortex server`, install.sh, and SHA256SUMS over all of it.
//
//	dist -root DIR -version V [-url URL] [-o DIR] [-platforms linux/amd64,…] [-python PROGRAM]
//
// The same checkout makes the same files, byte for byte. It must not upload anything.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// platform is an operating system and an architecture, by Go's names.
type platform struct{ os, arch string }

// release is what is made.
type release struct {
	root, out, work string
	version         string // semantic, without a v
	url             string // where the files will be; empty: nobody knows yet
	python          string
	platforms       []platform
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r release
	var platforms, version string
	flag.StringVar(&r.root, "root", ".", "the checkout")
	flag.StringVar(&version, "version", "", "a tag, such as v1.2.3; what is none is 0.0.0-dev")
	flag.StringVar(&r.url, "url", "", "where the files will be found; without it there is no formula, and install.sh asks")
	flag.StringVar(&r.out, "o", "", "the folder (dist/VERSION in the checkout)")
	flag.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64", "what the programs are built for")
	flag.StringVar(&r.python, "python", "python3", "packs the wheels")
	flag.Parse()
	if err := r.run(ctx, version, platforms, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "dist: %v\n", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be undone
	}
}

var semantic = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?)$`)

func (r release) run(ctx context.Context, version, platforms string, out io.Writer) error {
	r.version = "0.0.0-dev"
	if m := semantic.FindStringSubmatch(version); m != nil {
		r.version = m[1]
	}
	for text := range strings.SplitSeq(platforms, ",") {
		system, arch, ok := strings.Cut(text, "/")
		if !ok || !slices.Contains([]string{"linux", "darwin"}, system) || !slices.Contains([]string{"amd64", "arm64"}, arch) {
			return fmt.Errorf("%q is not a platform: linux and darwin are, each /amd64 and /arm64", text)
		}
		r.platforms = append(r.platforms, platform{system, arch})
	}
	var err error
	if r.root, err = filepath.Abs(r.root); err != nil {
		return err
	}
	if r.out == "" {
		r.out = filepath.Join(r.root, "dist", r.version)
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "cortex-dist-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.work) }()
	if err := r.build(ctx); err != nil {
		return err
	}
	if err := r.pack(ctx); err != nil {
		return err
	}
	return r.list(out)
}

// build compiles the programs for every platform and for this one, of which the
// completions and the man page are asked, and makes the image.
func (r release) build(ctx context.Context) error {
	here := platform{runtime.GOOS, runtime.GOARCH}
	wanted := r.platforms
	if !slices.Contains(wanted, here) {
		wanted = append(slices.Clone(wanted), here)
	}
	for _, p := range wanted {
		cmd := exec.CommandContext(ctx, "go", "build", "-C", r.root, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+r.version,
			"-o", r.programs(p)+string(filepath.Separator), "./cmd/cortex", "./cmd/cortex-install")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch)
		if err := said(cmd); err != nil {
			return err
		}
	}
	return errors.Join(r.share(ctx, r.programs(here)), r.image(ctx))
}

// programs is the folder with those for one platform.
func (r release) programs(p platform) string { return filepath.Join(r.work, p.os+"-"+p.arch) }

// pack makes the files of the release from what was built.
func (r release) pack(ctx context.Context) error {
	if err := os.RemoveAll(r.out); err != nil { // of an earlier run: a release has what is new only
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	for _, p := range r.platforms {
		if err := errors.Join(r.archive(p), r.sbom(p), r.wheel(ctx, p), r.packages(p)); err != nil {
			return err
		}
	}
	if image, err := os.ReadFile(filepath.Join(r.work, "server.tar")); err == nil { // there is none without Linux
		if err := write(filepath.Join(r.out, "cortex-server-"+r.version+".tar"), image, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(r.installer(), r.formula(), r.sums())
}

// said runs a command, and has what it said in its error.
func said(cmd *exec.Cmd) error {
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}

// share makes what is the same on every platform.
func (r release) share(ctx context.Context, programs string) error {
	files := map[string][]string{
		"completions/cortex.bash": {"completion", "bash"}, "completions/_cortex": {"completion", "zsh"},
		"completions/cortex.fish": {"completion", "fish"}, "cortex.1": {"reference"},
	}
	for name, args := range files {
		var text, why bytes.Buffer
		cmd := exec.CommandContext(ctx, filepath.Join(programs, "cortex"), args...)
		cmd.Stdout, cmd.Stderr = &text, &why
		cmd.Env = append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+filepath.Join(r.work, "config"))
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("cortex %s: %w\n%s", strings.Join(args, " "), err, why.Bytes())
		}
		page := text.Bytes()
		if name == "cortex.1" {
			_, commands, _ := bytes.Cut(page, []byte("do not edit.\n")) // of a heading for the web
			page = md2man.Render(append([]byte("% CORTEX 1\n\n# NAME\n\ncortex - deploy, manage and scale models and other containers as APIs\n\n# DESCRIPTION\n\n"), commands...))
		}
		if err := write(filepath.Join(r.work, "share", name), page, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"LICENSE", "README.md"} {
		text, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(r.work, "share", name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// name of a file of one platform.
func (r release) name(p platform, suffix string) string {
	return fmt.Sprintf("cortex_%s_%s_%s%s", r.version, p.os, p.arch, suffix)
}

// wheel packs the Python client with the programs. Its platform is the oldest system that
// they run on: they are static on Linux, and Go's own on macOS.
func (r release) wheel(ctx context.Context, p platform) error {
	tag := map[platform]string{
		{"linux", "amd64"}: "manylinux2014_x86_64", {"linux", "arm64"}: "manylinux2014_aarch64",
		{"darwin", "amd64"}: "macosx_12_0_x86_64", {"darwin", "arm64"}: "macosx_12_0_arm64",
	}[p]
	script := "import sys; sys.path.insert(0, sys.argv[1]); import cortex_build as b\n" +
		"b.build_wheel(sys.argv[2], {'version': sys.argv[3], 'platform': sys.argv[4], 'programs': sys.argv[5]})"
	return said(exec.CommandContext(ctx, r.python, "-c", script, filepath.Join(r.root, "python", "build_backend"), r.out, r.version, tag, r.programs(p)))
}

// image makes the image of `cortex server` for the architectures there are.
func (r release) image(ctx context.Context) error {
	var archs []string
	for _, p := range r.platforms {
		if p.os == "linux" {
			archs = append(archs, p.arch)
		}
	}
	if len(archs) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./scripts/images", "-programs", "server", "-tag", r.version, "-arch", strings.Join(archs, ","), "-o", filepath.Join(r.work, "server.tar"))
	cmd.Dir = r.root
	return said(cmd)
}

// sums writes what a download is compared with.
func (r release) sums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, e := range entries {
		sum, err := sumOf(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, e.Name())
	}
	return write(filepath.Join(r.out, "SHA256SUMS"), b.Bytes(), 0o644)
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (r release) list(out io.Writer) error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%.1f MB\t  %s\n", float64(info.Size())/1e6, e.Name())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s: version %s\n", r.out, r.version)
	if r.url == "" {
		fmt.Fprintln(out, "Nobody knows where these will be found: there is no formula, and install.sh asks. DIST_URL=https://… says it.")
	}
	return nil
}

func write(file string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, mode)
}
