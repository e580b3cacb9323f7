package install

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cortex.dev/cortex/deploy"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

// chart returns the embedded chart with this program's version.
func (w *work) chart() (*chart.Chart, error) { return loadChart(deploy.Chart(), w.cfg.Version) }

// plan is what is to be written.
type plan struct {
	chart       *chart.Chart
	objects     []*unstructured.Unstructured
	definitions []change
	adopting    bool // what was applied without Helm
	images      []string
	archive     *images.Archive // of them, to be pushed first; nil: there is none
}

// close removes what was unpacked.
func (p plan) close() {
	if p.archive != nil {
		_ = p.archive.Close() // in a folder for temporary files
	}
}

// prepare looks at everything that could stand in the way, before anything is changed,
// and returns what is to be written; close it, also when there is an error.
func (w *work) prepare(ctx context.Context, adopting bool) (p plan, err error) {
	p.adopting = adopting
	if p.chart, err = w.chart(); err != nil {
		return p, err
	}
	manifest, err := render(p.chart, w.cfg)
	if err != nil {
		return p, err
	}
	if p.objects, err = decode(manifest); err != nil {
		return p, err
	}
	all, err := crdsOf(p.chart)
	if err != nil {
		return p, err
	}
	if p.definitions, err = w.changes(ctx, all); err != nil {
		return p, err
	}
	p.images = imagesOf(p.objects)
	if w.cfg.Images != "" {
		if p.archive, err = w.openImages(p.images); err != nil {
			return p, err
		}
	}
	return p, w.preflight(ctx, p)
}

func loadChart(files fs.FS, version string) (*chart.Chart, error) {
	var buffered []*archive.BufferedFile
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		buffered = append(buffered, &archive.BufferedFile{Name: path, Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the chart: %w", err)
	}
	c, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, fmt.Errorf("reading the chart: %w", err)
	}
	if version != "" {
		c.Metadata.AppVersion = version
	}
	return c, nil
}

// Render returns the objects that cfg stands for as a stream of YAML, the
// definitions of the custom resources first. It asks no cluster. Values against the
// chart's schema are a fault that names each.
func Render(cfg Config) (string, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	c, err := loadChart(deploy.Chart(), cfg.Version)
	if err != nil {
		return "", err
	}
	manifest, err := render(c, cfg)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, crd := range slices.SortedFunc(slices.Values(c.CRDObjects()), func(a, b chart.CRD) int { return strings.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", crd.Filename, bytes.TrimSpace(bytes.TrimPrefix(crd.File.Data, []byte("---\n"))))
	}
	b.WriteString(manifest)
	return b.String(), nil
}

// render returns the objects of a chart but for the definitions.
func render(c *chart.Chart, cfg Config) (string, error) {
	do := action.NewInstall(action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler)))
	do.ReleaseName, do.Namespace, do.DryRunStrategy, do.WaitStrategy = Release, cfg.Namespace, action.DryRunClient, kube.HookOnlyStrategy
	do.KubeVersion = &common.KubeVersion{Version: "v1.29.0", Major: "1", Minor: "29"} // the oldest that there may be
	values := cfg.Values
	if values == nil {
		values = map[string]any{}
	}
	if err := checkValues(values); err != nil {
		return "", err
	}
	found, err := do.RunWithContext(context.Background(), c, values)
	if err != nil {
		return "", badValues(err)
	}
	rendered, ok := found.(*release.Release)
	if !ok {
		return "", fmt.Errorf("rendering the chart: a release of an unknown kind (%T)", found)
	}
	return rendered.Manifest, nil
}

// missingValue is what Helm says when a template lacks a value that it requires.
var missingValue = regexp.MustCompile(`execution error at \([^)]*\): (.*)`)

// badValues turns what Helm says about values into a fault with one line for each.
func badValues(err error) error {
	text := err.Error()
	if m := missingValue.FindStringSubmatch(text); m != nil {
		return fault.New(fault.Invalid, "install.values", "%s", m[1]).WithHint("--account-id, --region and --cluster-name say it, or --values and --set")
	}
	if !strings.Contains(text, "values don't meet the specifications") {
		return fmt.Errorf("rendering the chart: %w", err)
	}
	var wrong []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "- ") {
			line = strings.TrimPrefix(strings.TrimPrefix(line, "- at '"), "/")
			path, what, _ := strings.Cut(line, "': ")
			if path == "" {
				path = "values"
			}
			wrong = append(wrong, strings.ReplaceAll(path, "/", ".")+": "+what)
		}
	}
	return fault.New(fault.Invalid, "install.values", "the values do not fit the chart:\n  %s", strings.Join(wrong, "\n  ")).
		WithHint("every value is described in docs/kubernetes.md")
}

// Values lays the assignments (key=value, as helm --set reads them) over the files
// of YAML, each over the one before.
func Values(files [][]byte, assignments []string) (map[string]any, error) {
	values := map[string]any{}
	for _, data := range files {
		v, err := loader.LoadValues(bytes.NewReader(data))
		if err != nil {
			return nil, fault.New(fault.Usage, "install.values", "the values are not valid YAML: %w", err)
		}
		values = Merge(values, v)
	}
	for _, a := range assignments {
		if err := strvals.ParseInto(a, values); err != nil {
			return nil, fault.New(fault.Usage, "install.values", "--set %s: %w", a, err).WithHint("an assignment is key=value, such as gateway.replicas=3")
		}
	}
	return values, nil
}

// Merge lays over onto base; both stay as they are. A nil takes a value away.
func Merge(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	if merged == nil {
		merged = map[string]any{}
	}
	for k, v := range over {
		inner, isMap := v.(map[string]any)
		if below, ok := merged[k].(map[string]any); ok && isMap {
			merged[k] = Merge(below, inner)
			continue
		}
		merged[k] = v
	}
	return merged
}
