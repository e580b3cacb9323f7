package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// epoch is when every file was made: the same checkout makes the same bytes.
var epoch = time.Unix(0, 0)

// archive packs the programs with what is around them.
func (r release) archive(p platform) error {
	dir := r.programs(p)
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for _, from := range []string{dir, filepath.Join(r.work, "share")} {
		err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			mode := int64(0o644)
			if from == dir {
				mode = 0o755
			}
			name := strings.TrimPrefix(path, from+"/")
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text)), ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
				return err
			}
			_, err = w.Write(text)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		return err
	}
	return write(filepath.Join(r.out, r.name(p, ".tar.gz")), b.Bytes(), 0o644)
}

// sbom writes which modules are in the programs, as the compiler put it into them.
func (r release) sbom(p platform) error {
	seen := map[string]cyclonedx.Component{}
	for _, program := range []string{"cortex", "cortex-install"} {
		info, err := buildinfo.ReadFile(filepath.Join(r.programs(p), program))
		if err != nil {
			return err
		}
		add := func(path, version string) {
			purl := "pkg:golang/" + path + "@" + version
			seen[purl] = cyclonedx.Component{BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
		}
		add("std", strings.TrimPrefix(info.GoVersion, "go"))
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			add(m.Path, m.Version)
		}
	}
	var list []cyclonedx.Component
	for _, c := range seen {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b cyclonedx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: "cortex", Type: cyclonedx.ComponentTypeApplication, Name: "cortex", Version: r.version, Description: "the programs for " + p.os + "/" + p.arch,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}}
	bom.Components = &list
	var b bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return err
	}
	return write(filepath.Join(r.out, r.name(p, ".cdx.json")), b.Bytes(), 0o644)
}

//go:embed install.sh
var installScript string

//go:embed cortex.rb.tmpl
var formulaTemplate string

// installer writes install.sh, which knows its version and where its files are.
func (r release) installer() error {
	text := strings.NewReplacer("@VERSION@", r.version, "@URL@", r.url).Replace(installScript)
	return write(filepath.Join(r.out, "install.sh"), []byte(text), 0o755)
}

// formula writes what Homebrew installs: of a whole release, and where it is known from
// where.
func (r release) formula() error {
	if r.url == "" || len(r.platforms) < 4 {
		return nil
	}
	sums := map[string]string{}
	for _, p := range r.platforms {
		sum, err := sumOf(filepath.Join(r.out, r.name(p, ".tar.gz")))
		if err != nil {
			return err
		}
		sums[p.os+"_"+p.arch] = sum
	}
	t, err := template.New("formula").Parse(formulaTemplate)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]any{"Version": r.version, "URL": strings.TrimSuffix(r.url, "/"), "Sums": sums}); err != nil {
		return fmt.Errorf("the formula: %w", err)
	}
	return write(filepath.Join(r.out, "cortex.rb"), b.Bytes(), 0o644)
}
