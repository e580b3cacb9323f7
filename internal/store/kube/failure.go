package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// failure turns an error of the API server into one that says what happened.
func (s *Store) failure(ctx context.Context, doing string, err error) error {
	var known *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case s.closing.Err() != nil:
		return errClosed()
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return failed(doing, err)
}

func failed(doing string, err error) error {
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fault.New(fault.Unavailable, "store.forbidden", "%s: the API server refuses it: %w", doing, err).
			WithHint("give the service account this permission, as the chart does")
	case isTooLarge(err):
		return fault.New(fault.Invalid, "store.too_large", "%s: it takes more than the API server keeps: %w", doing, err).
			WithHint("split the file, and keep data out of it")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fault.New(fault.Invalid, "store.refused", "%s: the API server refuses it: %w", doing, err).
			WithHint("if the rules here are older than this version of Cortex, apply the custom resource definitions of its chart")
	case isNotServed(err):
		return fault.New(fault.Unavailable, "store.not_installed", "%s: the API server does not serve Cortex's custom resources", doing).
			WithHint("apply the custom resource definitions of the chart")
	default:
		return fault.New(fault.Unavailable, "store.unavailable", "%s: the Kubernetes API server failed: %w", doing, err).
			WithHint("check that it can be reached; the next call tries again")
	}
}

// isNotServed reports whether err says that there is no such resource, as opposed
// to no such object.
func isNotServed(err error) bool {
	if !apierrors.IsNotFound(err) {
		return false
	}
	return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func isTooLarge(err error) bool {
	return apierrors.IsRequestEntityTooLargeError(err) || strings.Contains(err.Error(), "request is too large") ||
		strings.Contains(err.Error(), "larger than max")
}

// errClosed is what calls return that were under way when the store was closed.
func errClosed() error {
	return fault.New(fault.Unavailable, "store.closed", "the state is closed")
}

func notDeployed(name string) error {
	return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
}

func conflict(name string) error {
	return fault.New(fault.Conflict, store.CodeVersionConflict, "%s was changed by someone else at the same time", name).
		WithHint("try again")
}

func illegalName(name string) error {
	return fault.New(fault.Invalid, store.CodeIllegalName, "%q cannot be the name of an API", name)
}

// busy is what a write returns that lost against others too many times.
func busy(doing string) error {
	return fault.New(fault.Unavailable, "store.busy", "%s: it is changed by others all the time", doing).
		WithHint("look at what writes it; the next call tries again")
}
