package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cliConfig is what docker login leaves behind, in the config.json of the docker
// command line.
type cliConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"` // base64 of user:password
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// dockerConfig reads it. One that is not there or cannot be read means nobody has
// logged in.
func dockerConfig() cliConfig {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return cliConfig{}
		}
		dir = filepath.Join(home, ".docker")
	}
	var c cliConfig
	if raw, err := os.ReadFile(filepath.Join(dir, "config.json")); err == nil {
		_ = json.Unmarshal(raw, &c)
	}
	return c
}

// registryOf returns the registry of an image, as config.json names it.
func registryOf(ref string) string {
	host, _, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "https://index.docker.io/v1/"
	}
	return host
}

// credentials go to Docker in a header, as JSON.
type credentials struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	ServerAddress string `json:"serveraddress,omitempty"`
}

// registryAuth returns the credentials for an image, encoded; empty for none.
func registryAuth(ctx context.Context, ref string, c cliConfig) string {
	registry := registryOf(ref)
	cred := credentials{ServerAddress: registry}
	helper := c.CredHelpers[registry]
	if helper == "" {
		helper = c.CredsStore
	}
	if helper != "" {
		if !askHelper(ctx, helper, registry, &cred) {
			return ""
		}
	} else {
		entry, ok := c.Auths[registry]
		if !ok {
			return ""
		}
		raw, err := base64.StdEncoding.DecodeString(entry.Auth)
		if err != nil {
			return ""
		}
		cred.Username, cred.Password, _ = strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
		cred.IdentityToken = entry.IdentityToken
	}
	text, err := json.Marshal(cred)
	if err != nil {
		return ""
	}
	return base64.URLEncoding.EncodeToString(text)
}

// askHelper asks the program docker-credential-<helper>, which docker login set up.
func askHelper(ctx context.Context, helper, registry string, cred *credentials) bool {
	if strings.ContainsAny(helper, `/\`) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, ordering)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	cmd.Stdin = strings.NewReader(registry)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return false // nobody has logged in there
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return false
	}
	if got.Username == "<token>" {
		cred.IdentityToken = got.Secret
	} else {
		cred.Username, cred.Password = got.Username, got.Secret
	}
	return true
}
