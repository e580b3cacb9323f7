package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// ensureImage returns what is known of an image, after pulling it when it is not
// on this machine. A pull takes as long as it takes; ctx ends it.
func (r *Runtime) ensureImage(ctx context.Context, ref string, note func(doing string)) (client.ImageInspectResult, error) {
	asked, cancel := context.WithTimeout(ctx, ordering)
	image, err := r.cli.ImageInspect(asked, ref)
	cancel()
	if err == nil {
		return image, nil
	}
	if !errdefs.IsNotFound(err) {
		if client.IsErrConnectionFailed(err) {
			return image, r.silent(err)
		}
		return image, pullError(ref, err)
	}
	note("pulling image " + ref)
	pull, err := r.cli.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: registryAuth(ctx, ref, dockerConfig())})
	if err != nil {
		return image, pullError(ref, err)
	}
	defer func() { _ = pull.Close() }()
	if err := pull.Wait(ctx); err != nil {
		return image, pullError(ref, err)
	}
	note("")
	image, err = r.cli.ImageInspect(ctx, ref)
	if err != nil {
		return image, pullError(ref, err)
	}
	return image, nil
}

// pullError explains why an image is not there. Registries say "denied" of what
// does not exist as well, so that both have one code.
func pullError(ref string, err error) error {
	text := err.Error()
	e := &local.StartError{Err: err, Reason: workload.Reason{
		Code:     local.CodeImagePull,
		Message:  fmt.Sprintf("image %s could not be pulled: %s", ref, strings.TrimPrefix(text, "Error response from daemon: ")),
		Fix:      "it is tried again; look at the network of this machine and at the registry",
		Evidence: []workload.Evidence{{Kind: "engine", Text: text}},
	}}
	lower := strings.ToLower(text)
	for _, sign := range []string{"not found", "manifest unknown", "does not exist", "access denied", "no such image", "unauthorized", "invalid reference format", "name unknown", "authentication required"} {
		if strings.Contains(lower, sign) {
			e.Final = true
			e.Reason.Code = local.CodeImageNotFound
			e.Reason.Message = fmt.Sprintf("image %s does not exist, or this user may not pull it", ref)
			e.Reason.Fix = "correct image, or log in with docker login"
			break
		}
	}
	return e
}
