package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"cortex.dev/cortex/internal/fault"
)

// Reference is the full name of an image: registry/name:tag.
func Reference(registry, image, tag string) string {
	return strings.TrimSuffix(registry, "/") + "/" + image + ":" + tag
}

// Push writes an image to a registry under a full name, with the credentials that Docker's
// own configuration has for it (docker login, or a credential helper), and returns its
// digest. What the registry has already is not sent again. Its fault is images.push.
func Push(ctx context.Context, full string, n Named) (digest string, err error) {
	full, _, _ = strings.Cut(full, "@") // a registry finds out for itself
	ref, err := name.NewTag(full, name.StrictValidation)
	if err != nil {
		return "", fault.New(fault.Invalid, "images.push", "%s is not the name of an image: %w", full, err).
			WithHint("a registry is a host with an optional port and path, such as 123456789012.dkr.ecr.us-west-2.amazonaws.com/cortex")
	}
	hash, err := n.Index.Digest()
	if err != nil {
		return "", fmt.Errorf("the image %s: %w", n.Name, err)
	}
	if err := remote.WriteIndex(ref, n.Index, options(ctx)...); err != nil {
		return "", fault.New(fault.Unavailable, "images.push", "pushing %s: %w", full, err).WithHint("%s", pushHint(err, ref))
	}
	return hash.String(), nil
}

func pushHint(err error, ref name.Reference) string {
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "`docker login " + ref.Context().RegistryStr() + "` writes the credentials that are used"
	case http.StatusNotFound:
		return "some registries want a repository to be made first: aws ecr create-repository --repository-name " + ref.Context().RepositoryStr()
	}
	return "what was pushed stays; the same command goes on"
}

// Finding is what a registry says of an image.
type Finding struct {
	Reference string
	Missing   bool  // the registry does not have it
	Err       error // it could not be asked, or gave another answer
}

// Find asks registries for images, all at once; findings are in the order of refs.
func Find(ctx context.Context, refs []string) []Finding {
	found := make([]Finding, len(refs))
	var asking sync.WaitGroup
	for i, full := range refs {
		found[i].Reference = full
		ref, err := name.ParseReference(full)
		if err != nil {
			found[i].Err = err
			continue
		}
		asking.Go(func() {
			once := remote.WithRetryBackoff(remote.Backoff{Steps: 1}) // somebody waits for the answer
			_, err := remote.Head(ref, options(ctx, once)...)
			// A registry may refuse to answer the short question.
			if status(err) == http.StatusMethodNotAllowed {
				_, err = remote.Get(ref, options(ctx, once)...)
			}
			if status(err) == http.StatusNotFound {
				found[i].Missing = true
				return
			}
			found[i].Err = err
		})
	}
	asking.Wait()
	return found
}

// Why says in a few words why a registry could not be asked.
func Why(err error) string {
	switch s := status(err); {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return "the registry wants credentials that this machine does not have"
	case s != 0:
		return fmt.Sprintf("the registry answers %d %s", s, http.StatusText(s))
	case errors.Is(err, context.DeadlineExceeded):
		return "the registry does not answer"
	}
	return "the registry cannot be reached from here (" + err.Error() + ")"
}

// status is that of the answer which an error is about, or 0.
func status(err error) int {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

func options(ctx context.Context, more ...remote.Option) []remote.Option {
	return append(more, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}
