package main

import (
	"context"
	"errors"

	"cortex.dev/cortex/internal/cli"
)

// runLocal hosts the local environment.
func runLocal(_ context.Context, _ cli.LocalConfig) error {
	return errors.New("this build has no local environment")
}
