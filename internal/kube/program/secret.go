package program

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/fault"
)

// The keys of a Secret with credentials, and the faults of one that is of no use.
const (
	usernameKey, passwordKey = "username", "password"

	CodeSecretRefused = "kube.secret_refused" //nolint:gosec // the name of a fault
	CodeSecretInvalid = "kube.secret_invalid"
)

// How often a Secret is asked for, how long one answer may take, and how long the API
// server may refuse it: a right that was given just now reaches it some moments later.
const (
	secretEvery   = time.Second
	secretWithin  = 10 * time.Second
	secretRefused = 30 * time.Second
)

// Credentials are the keys username and password of a Secret. While it is not there, or
// the API server does not answer, it is asked for again until ctx ends. A Secret that may
// not be read, or that lacks a key, is a fault.
func Credentials(ctx context.Context, cfg *rest.Config, namespace, secret string, log *slog.Logger) (username, password string, err error) {
	client, err := corev1.NewForConfig(cfg)
	if err != nil {
		return "", "", fmt.Errorf("making a client for secrets: %w", err)
	}
	data, err := awaitSecret(ctx, namespace+"/"+secret, log, func(ctx context.Context) (map[string][]byte, error) {
		found, err := client.Secrets(namespace).Get(ctx, secret, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return found.Data, nil
	})
	if err != nil {
		return "", "", err
	}
	for _, key := range []string{usernameKey, passwordKey} {
		if len(data[key]) == 0 {
			return "", "", fault.New(fault.Invalid, CodeSecretInvalid, "the secret %s/%s has no %s", namespace, secret, key).
				WithHint("it needs the keys %s and %s", usernameKey, passwordKey)
		}
	}
	return string(data[usernameKey]), string(data[passwordKey]), nil
}

// awaitSecret asks until there is an answer that will not change by itself.
func awaitSecret(ctx context.Context, name string, log *slog.Logger, get func(context.Context) (map[string][]byte, error)) (map[string][]byte, error) {
	tick := time.NewTicker(secretEvery)
	defer tick.Stop()
	var refusedSince time.Time
	var said string
	for {
		one, cancel := context.WithTimeout(ctx, secretWithin)
		data, err := get(one)
		cancel()
		if err == nil {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		why := "the API server does not answer"
		refused := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
		switch {
		case !refused:
			refusedSince = time.Time{}
		case refusedSince.IsZero():
			refusedSince = time.Now()
		case time.Since(refusedSince) >= secretRefused:
			return nil, fault.New(fault.Forbidden, CodeSecretRefused, "reading the secret %s: %w", name, err).
				WithHint("the service account of this pod needs the right to get it, as the chart gives it")
		}
		switch {
		case refused:
			why = "it may not be read yet"
		case apierrors.IsNotFound(err):
			why = "it is not there yet"
		}
		if why != said {
			log.Info("waiting for a secret", "secret", name, "why", why, "error", err)
			said = why
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
