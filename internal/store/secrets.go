package store

import (
	"context"
	"time"
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
// There is no way to read a value here: where replicas run on Kubernetes nobody but the
// kubelet has to.
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

// SecretValues reads values, for an engine that starts what needs them itself.
type SecretValues interface {
	// SecretValue is fault.NotFound with secrets.not_found where there is none.
	SecretValue(ctx context.Context, name string) (string, error)
}
