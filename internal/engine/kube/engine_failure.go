package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"cortex.dev/cortex/internal/fault"
)

func notDeployed(name string) error {
	return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
}

func stopping() error {
	return fault.New(fault.Unavailable, "engine.stopping", "the engine is stopping")
}

func readOnly() error {
	return fault.New(fault.Unsupported, "engine.read_only", "this program only reads replicas")
}

// failed turns an error of the API server into one that says what happened.
func failed(ctx context.Context, doing string, err error) error {
	var known *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		// An admission policy says Forbidden too; its words are in err.
		return fault.New(fault.Unavailable, "engine.forbidden", "%s: the API server refuses it: %w", doing, err).
			WithHint("if the service account may not do this, give it the role of the chart; else a policy of the cluster forbids it")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.New(fault.Invalid, "engine.refused", "%s: Kubernetes refuses it: %w", doing, err).
			WithHint("the words of the API server name the field")
	}
	return fault.New(fault.Unavailable, "engine.unavailable", "%s: the Kubernetes API server failed: %w", doing, err).
		WithHint("check that it can be reached; the next call tries again")
}
