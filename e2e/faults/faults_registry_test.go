package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"cortex.dev/cortex/internal/images"
)

// registry is one of images, that has one image or none. Nodes speak HTTP with it
// because it is on their own machine.
type registry struct {
	*httptest.Server
	pushed  atomic.Bool
	content v1.Image
}

func newRegistry(t *testing.T, program string) *registry {
	t.Helper()
	// Its folder makes it another image than the one that was loaded: a node that has
	// pulled an image once asks the registry for it again.
	image, err := images.Image{Name: "model", Files: map[string]string{"/server": program}, Dir: "/tmp"}.Build("")
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{content: image}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Listener = ln
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *registry) image(name string) string {
	return strings.TrimPrefix(r.URL, "http://") + "/" + name + ":1"
}

func (r *registry) push() { r.pushed.Store(true) }

// serve answers what a node asks of a registry.
func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	kind, body, err := r.find(req.URL.Path)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case body == nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}
}

// find is what lies at a path; no body where nothing does.
func (r *registry) find(path string) (kind string, body []byte, err error) {
	switch {
	case path == "/v2/":
		return "application/json", []byte("{}"), nil
	case !r.pushed.Load():
		return "", nil, nil
	case strings.Contains(path, "/manifests/"):
		media, err := r.content.MediaType()
		if err != nil {
			return "", nil, err
		}
		body, err = r.content.RawManifest()
		return string(media), body, err
	}
	_, digest, _ := strings.Cut(path, "/blobs/")
	if config, err := r.content.ConfigName(); err != nil || config.String() == digest {
		body, err := r.content.RawConfigFile()
		return "application/octet-stream", body, err
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return "", nil, nil //nolint:nilerr // nothing has such a name
	}
	layer, err := r.content.LayerByDigest(hash)
	if err != nil {
		return "", nil, nil //nolint:nilerr // nothing is so named
	}
	content, err := layer.Compressed()
	if err != nil {
		return "", nil, err
	}
	defer content.Close()
	body, err = io.ReadAll(content)
	return "application/octet-stream", body, err
}

// ignoreGone is an error of a call to the API server, but for that of something that is
// not there any more.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
