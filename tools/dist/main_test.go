package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// TestRelease makes a release for this platform and installs it in every way that this
// machine has.
func TestRelease(t *testing.T) {
	here := platform{runtime.GOOS, runtime.GOARCH}
	r := release{root: root(t), work: t.TempDir(), out: filepath.Join(t.TempDir(), "a"), version: "1.2.3-rc.4", python: "python3", platforms: []platform{here}}
	if err := r.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.pack(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := r
	again.out = filepath.Join(t.TempDir(), "b")
	if err := again.pack(t.Context()); err != nil {
		t.Fatal(err)
	}
	sums, same := read(t, r.out, "SHA256SUMS"), read(t, again.out, "SHA256SUMS")
	if sums != same {
		t.Errorf("the same programs were packed into other files:\n%s\nand before\n%s", same, sums)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(r.out)))
	t.Cleanup(files.Close)
	t.Run("install.sh", func(t *testing.T) { installs(t, r, files.URL) })
	t.Run("wheel", func(t *testing.T) { wheelInstalls(t, r) })
	t.Run("deb", func(t *testing.T) { debInstalls(t, r) })
	t.Run("rpm", func(t *testing.T) {
		list := run(t, "rpm", "-qlp", filepath.Join(r.out, r.name(here, ".rpm")))
		for _, want := range []string{"/usr/bin/cortex\n", "/usr/lib/systemd/user/cortex.service\n", "/etc/cortex/server.env\n"} {
			if !strings.Contains(list, want) {
				t.Errorf("the rpm has no %s:\n%s", want, list)
			}
		}
	})
	t.Run("SBOM", func(t *testing.T) {
		var bom cyclonedx.BOM
		if err := cyclonedx.NewBOMDecoder(strings.NewReader(read(t, r.out, r.name(here, ".cdx.json"))), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"std", "github.com/spf13/cobra", "helm.sh/helm/v4"} {
			if !slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool { return c.Name == want && c.Version != "" }) {
				t.Errorf("the SBOM has no %s", want)
			}
		}
	})
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// run runs a program, or skips when this machine has none of that name.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("there is no %s on this machine", program)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func version(t *testing.T, program string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "version")
	cmd.Env = append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "1.2.3-rc.4") {
		t.Errorf("%s version says %q, %v; want 1.2.3-rc.4", program, out, err)
	}
}

func installs(t *testing.T, r release, url string) {
	archive := r.name(r.platforms[0], ".tar.gz")
	install := func(url, dir string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(r.out, "install.sh"))
		cmd.Env = append(os.Environ(), "CORTEX_DIST_URL="+url, "CORTEX_INSTALL_DIR="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	dir := filepath.Join(t.TempDir(), "bin")
	for range 2 { // over itself too
		if out, err := install(url+"/", dir); err != nil || !strings.Contains(out, `export PATH="`+dir) {
			t.Fatalf("install.sh: %v\n%s", err, out)
		}
	}
	version(t, filepath.Join(dir, "cortex"))
	if found, err := os.ReadDir(dir); err != nil || len(found) != 2 {
		t.Errorf("install.sh left %v (%v), want two programs", found, err)
	}

	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/tampered/" + archive:
			fmt.Fprint(w, "something else")
		case "/other/SHA256SUMS":
			fmt.Fprintf(w, "%064d  cortex_9.9.9_linux_amd64.tar.gz\n", 0)
		default:
			http.ServeFile(w, req, filepath.Join(r.out, filepath.Base(req.URL.Path)))
		}
	}))
	t.Cleanup(bad.Close)
	for says, url := range map[string]string{
		"is not what SHA256SUMS says": bad.URL + "/tampered", "has no " + archive: bad.URL + "/other",
		"cannot get": bad.URL + "/none/of/it/../../%zz", "where is the release?": "",
	} {
		dir := filepath.Join(t.TempDir(), "bin")
		out, err := install(url, dir)
		if _, found := os.Stat(dir); err == nil || !strings.Contains(out, says) || found == nil {
			t.Errorf("install.sh from %q said %q (%v) and left a folder: %v; want %q and nothing installed", url, out, err, found == nil, says)
		}
	}

	// A script that is cut short does nothing.
	text := []byte(read(t, r.out, "install.sh"))
	cmd := exec.CommandContext(t.Context(), "sh")
	cmd.Env = append(os.Environ(), "CORTEX_DIST_URL="+url, "CORTEX_INSTALL_DIR="+filepath.Join(t.TempDir(), "bin"))
	cmd.Stdin = bytes.NewReader(text[:len(text)-len("main \"$@\"\n")])
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("install.sh that is cut short said %q, %v", out, err)
	}
}

func wheelInstalls(t *testing.T, r release) {
	wheels, err := filepath.Glob(filepath.Join(r.out, "cortex-1.2.3rc4-py3-none-*.whl"))
	if err != nil || len(wheels) != 1 {
		t.Fatalf("there are the wheels %v, %v", wheels, err)
	}
	env := filepath.Join(t.TempDir(), "env")
	if out, err := exec.CommandContext(t.Context(), "python3", "-m", "venv", env).CombinedOutput(); err != nil {
		t.Skipf("this Python makes no environments: %v\n%s", err, out)
	}
	run(t, filepath.Join(env, "bin", "pip"), "install", "--no-index", "--disable-pip-version-check", wheels[0])
	version(t, filepath.Join(env, "bin", "cortex"))
	// Python finds the program that came with it, whatever is on the PATH.
	cmd := exec.CommandContext(t.Context(), filepath.Join(env, "bin", "python"), "-c", "import cortex, cortex.local; print(cortex.__version__, cortex.local.program())")
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin", "CORTEX_CLI_PATH=")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1.2.3rc4 "+filepath.Join(env, "bin", "cortex")+"\n" {
		t.Errorf("the package says %q, %v", out, err)
	}
}

func debInstalls(t *testing.T, r release) {
	deb, dir := filepath.Join(r.out, r.name(r.platforms[0], ".deb")), t.TempDir()
	if got := run(t, "dpkg-deb", "-f", deb, "Version"); got != "1.2.3~rc.4\n" {
		t.Errorf("the deb is of version %q, which has to sort before 1.2.3", got)
	}
	run(t, "dpkg-deb", "-x", deb, dir)
	version(t, filepath.Join(dir, "usr/bin/cortex"))
	for _, unit := range []string{"system/cortex-server.service", "user/cortex.service"} {
		if text := read(t, dir, "usr/lib/systemd/"+unit); !strings.Contains(text, "\nExecStart=/usr/bin/cortex ") {
			t.Errorf("%s does not start the program of the package:\n%s", unit, text)
		}
	}
	if page := read(t, dir, "usr/share/man/man1/cortex.1"); !strings.Contains(page, ".TH CORTEX 1") || !strings.Contains(page, "cortex deploy") || strings.Contains(page, "do not edit") {
		t.Errorf("the man page is\n%.200s", page)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, platforms := range []string{"", "windows/amd64", "linux", "linux/386"} {
		r := release{root: root(t), out: t.TempDir()}
		if err := r.run(t.Context(), "v1.2.3", platforms, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "is not a platform") {
			t.Errorf("run() for %q = %v", platforms, err)
		}
	}
}
