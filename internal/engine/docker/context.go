package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// contextHost is where Docker is by the context of its command line, which docker info asks
// too: that of DOCKER_CONTEXT, or the current one of its configuration. Empty: there is none,
// or DOCKER_HOST says it. The format is that of docker/cli (cli/context/store).
func contextHost(getenv func(string) string) (string, error) {
	if getenv("DOCKER_HOST") != "" {
		return "", nil
	}
	folder := getenv("DOCKER_CONFIG")
	if folder == "" {
		home := getenv("HOME")
		if home == "" {
			return "", nil
		}
		folder = filepath.Join(home, ".docker")
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct {
			CurrentContext string `json:"currentContext"`
		}
		if err := readJSON(filepath.Join(folder, "config.json"), &config); err != nil {
			return "", err
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", nil
	}
	digest := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(digest[:])
	var about struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(filepath.Join(folder, "contexts", "meta", id, "meta.json"), &about); err != nil {
		return "", err
	}
	host := about.Endpoints["docker"].Host
	if _, err := os.Stat(filepath.Join(folder, "contexts", "tls", id)); err == nil {
		return "", fmt.Errorf("the Docker context %s has certificates, which are not read here: set DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH", name)
	}
	if host == "" {
		return "", fmt.Errorf("there is no Docker context %s that says where Docker is (docker context ls)", name)
	}
	return host, nil
}

// readJSON reads a file; one that is not there says nothing.
func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("reading %s of Docker: %w", path, err)
	}
	return nil
}
