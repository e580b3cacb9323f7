package store

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Secret is what is known of a secret without its value.
type Secret struct {
	Name  string
	SetAt time.Time
}

// Secrets keeps the values of secrets for the replicas that refer to them. It is durable
// as a Store is; all methods may be called at once. Names are those that
// workload.IsSecretName knows, values those that workload.SecretValueProblem does not.
//
// There is no way to read a value here: replicas on Kubernetes get theirs from the kubelet.
type Secrets interface {
	// SetSecret writes a value, and says whether there was none of that name. With
	// workload.MaxSecrets others it is fault.Conflict, code secrets.too_many; where
	// something of that name is not ours, secrets.not_ours.
	SetSecret(ctx context.Context, name string, value []byte, at time.Time) (created bool, err error)
	// Secrets returns all of them, by name.
	Secrets(ctx context.Context) ([]Secret, error)
	// DeleteSecret forgets one, or is fault.NotFound with secrets.not_found.
	DeleteSecret(ctx context.Context, name string) error
}

// SecretValues reads values, for an engine that starts what needs them itself, and for who
// signs with them.
type SecretValues interface {
	// SecretValue is fault.NotFound with secrets.not_found where there is none.
	SecretValue(ctx context.Context, name string) (string, error)
}

// NoSecret is the error for a secret that is not there.
func NoSecret(name string) error {
	return fault.New(fault.NotFound, workload.CodeSecretNotFound, "there is no secret %s", name).
		WithHint("cortex secret list shows which there are, and cortex secret set %s makes it", name)
}
