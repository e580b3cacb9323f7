package install

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

// askRegistry is how long registries have to say what they have.
const askRegistry = 15 * time.Second

// imagesOf are the references of what the objects start, the sidecars of APIs among it.
func imagesOf(objects []*unstructured.Unstructured) []string {
	var refs []string
	add := func(ref string) {
		if ref != "" && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	for _, u := range objects {
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			container, _ := c.(map[string]any)
			image, _ := container["image"].(string)
			add(image)
			args, _, _ := unstructured.NestedStringSlice(container, "args")
			for _, arg := range args {
				if ref, ok := strings.CutPrefix(arg, "--sidecar-image="); ok {
					add(ref)
				}
			}
		}
	}
	return refs
}

// MissingImages asks the registries for every image that an installation and the add-ons of
// its nodes would start, on a Kubernetes of a version such as 1.36, and asks no cluster:
// there may be none yet. unknown says why they could not be asked.
func MissingImages(ctx context.Context, cfg Config, n NodeAddons, kubernetes string) (missing []string, unknown string, err error) {
	w := &work{cfg: cfg}
	c, err := w.chart()
	if err != nil {
		return nil, "", err
	}
	manifest, err := render(c, cfg)
	if err != nil {
		return nil, "", err
	}
	objects, err := decode(manifest)
	if err != nil {
		return nil, "", err
	}
	addons, err := n.objects(kubernetes)
	if err != nil {
		return nil, "", err
	}
	missing, unknown = w.lookForImages(ctx, imagesOf(slices.Concat(objects, addons)))
	return missing, unknown, nil
}

// lookForImages asks the registries for every image, so that nothing is installed that no
// node could start. Missing are those that are not there, in words; unknown says why it
// could not be asked, which stands in nobody's way: nodes may reach more than this
// machine, with other credentials.
func (w *work) lookForImages(ctx context.Context, refs []string) (missing []string, unknown string) {
	if w.text("", "image", "pullPolicy") == "Never" {
		return nil, "not looked for: they are never pulled"
	}
	ctx, cancel := context.WithTimeout(ctx, askRegistry)
	defer cancel()
	for _, f := range images.Find(ctx, refs) {
		switch {
		case f.Missing:
			missing = append(missing, f.Reference)
		case f.Err != nil && unknown == "":
			unknown = "not looked for: " + images.Why(f.Err)
		}
	}
	return missing, unknown
}

// openImages opens the archive that is to be pushed and sees that it has what is asked
// for.
func (w *work) openImages(refs []string) (*images.Archive, error) {
	archive, err := images.OpenArchive(w.cfg.Images)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if _, ok := archived(archive, ref); !ok {
			_ = archive.Close() // the reason is known already
			return nil, fault.New(fault.Invalid, "images.archive", "the archive %s has no image for %s", w.cfg.Images, ref)
		}
	}
	return archive, nil
}

// pushImages gives the registries of the values the images of the archive.
func (w *work) pushImages(ctx context.Context, p plan) error {
	started := w.now()
	for _, ref := range p.images {
		image, _ := archived(p.archive, ref)
		if _, err := images.Push(ctx, ref, image); err != nil {
			return err
		}
	}
	w.done("images", started, "%d pushed to %s", len(p.images), path.Dir(p.images[0]))
	return nil
}

// archived is the image of an archive that a reference such as r.example/cortex/operator:v1
// is to be.
func archived(archive *images.Archive, ref string) (images.Named, bool) {
	name, _, _ := strings.Cut(path.Base(ref), "@")
	name, _, _ = strings.Cut(name, ":")
	at := slices.IndexFunc(archive.Images, func(n images.Named) bool { return n.Name == name })
	if at < 0 {
		return images.Named{}, false
	}
	return archive.Images[at], true
}
