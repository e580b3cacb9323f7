package local

import (
	"context"
	"fmt"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// codeSecret is of a container that cannot have the value of a secret.
const codeSecret = "secret_unavailable"

// secrets returns the values that variables of the container have, by the names of the
// secrets. They are read for each start, and kept nowhere else than in what is started.
func (c *container) secrets(ctx context.Context) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range c.spec.SecretVariables() {
		secret := c.spec.Env[name].Secret
		if _, have := values[secret]; have {
			continue
		}
		if c.r.e.cfg.Secret == nil {
			return nil, &StartError{Final: true, Reason: workload.Reason{Code: codeSecret, Message: "nothing here keeps secrets", Fix: "give " + name + " a value"}}
		}
		value, err := c.r.e.cfg.Secret(ctx, secret)
		if err != nil {
			f := fault.From(err)
			return nil, &StartError{Err: err, Reason: workload.Reason{
				Code: codeSecret, Message: fmt.Sprintf("container %s needs a secret for %s: %s", c.spec.Name, name, f.Message), Fix: f.Hint,
			}}
		}
		values[secret] = value
	}
	return values, nil
}
