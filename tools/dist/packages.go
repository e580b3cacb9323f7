package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // the format
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // likewise
)

// What the packages have beside the programs. The server's flags are the administrator's:
// a newer package does not overwrite them.
const (
	serverFlags = "# The flags of cortex server; nothing secret. See `man cortex`, and then:\n" +
		"#   systemctl enable --now cortex-server\n" +
		"CORTEX_SERVER_FLAGS=\n"
	serverUser = "u cortex - \"Cortex server\" /var/lib/cortex /usr/sbin/nologin\n"
	afterwards = "#!/bin/sh\n# Machines without systemd have neither.\n" +
		"command -v systemd-sysusers >/dev/null && systemd-sysusers cortex.conf\n" +
		"[ -d /run/systemd/system ] && systemctl daemon-reload\nexit 0\n"
)

// packages makes a deb and an rpm with both units: the server, and the environment of one
// user. Neither is started by installing it.
func (r release) packages(p platform) error {
	if p.os != "linux" {
		return nil
	}
	dir := r.programs(p)
	made := filepath.Join(r.work, "package")
	texts := map[string]string{"server.env": serverFlags, "cortex.conf": serverUser, "afterwards": afterwards}
	for _, unit := range []string{"cortex-server.service", "cortex.service"} {
		text, err := os.ReadFile(filepath.Join(r.root, "deploy", "systemd", unit))
		if err != nil {
			return err
		}
		texts[unit] = strings.ReplaceAll(string(text), "/usr/local/bin/", "/usr/bin/")
	}
	for name, text := range texts {
		if err := write(filepath.Join(made, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	share := filepath.Join(r.work, "share")
	var contents files.Contents
	for _, f := range []struct {
		from, to, kind string
		mode           os.FileMode
	}{
		{filepath.Join(dir, "cortex"), "/usr/bin/cortex", "", 0o755},
		{filepath.Join(dir, "cortex-install"), "/usr/bin/cortex-install", "", 0o755},
		{filepath.Join(made, "cortex-server.service"), "/usr/lib/systemd/system/cortex-server.service", "", 0o644},
		{filepath.Join(made, "cortex.service"), "/usr/lib/systemd/user/cortex.service", "", 0o644},
		{filepath.Join(made, "cortex.conf"), "/usr/lib/sysusers.d/cortex.conf", "", 0o644},
		{filepath.Join(made, "server.env"), "/etc/cortex/server.env", files.TypeConfigNoReplace, 0o644},
		{filepath.Join(share, "cortex.1"), "/usr/share/man/man1/cortex.1", "", 0o644},
		{filepath.Join(share, "completions", "cortex.bash"), "/usr/share/bash-completion/completions/cortex", "", 0o644},
		{filepath.Join(share, "completions", "_cortex"), "/usr/share/zsh/site-functions/_cortex", "", 0o644},
		{filepath.Join(share, "completions", "cortex.fish"), "/usr/share/fish/vendor_completions.d/cortex.fish", "", 0o644},
		{filepath.Join(share, "LICENSE"), "/usr/share/doc/cortex/copyright", "", 0o644},
	} {
		contents = append(contents, &files.Content{
			Source: f.from, Destination: f.to, Type: f.kind,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode, MTime: epoch},
		})
	}
	for _, format := range []string{"deb", "rpm"} {
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: "cortex", Arch: p.arch, Platform: "linux", Version: r.version, Section: "utils", Priority: "optional",
			Maintainer: "the Cortex authors", Description: "Deploys, manages and scales models and other containers as APIs.", License: "Apache-2.0", MTime: epoch,
			Overridables: nfpm.Overridables{Contents: contents, Scripts: nfpm.Scripts{PostInstall: filepath.Join(made, "afterwards")}, RPM: nfpm.RPM{BuildHost: "localhost"}},
		})
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return fmt.Errorf("the %s: %w", format, err)
		}
		var b bytes.Buffer
		if err := packager.Package(info, &b); err != nil {
			return fmt.Errorf("the %s: %w", format, err)
		}
		if err := write(filepath.Join(r.out, r.name(p, "."+format)), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
