package httpapi_test

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (d *double) Secrets(context.Context) ([]workload.Secret, error) {
	d.saw("Secrets")
	return reply[[]workload.Secret](d)
}

func (d *double) SetSecret(_ context.Context, name string, value []byte) (workload.SecretSet, error) {
	d.saw("SetSecret", name, string(value))
	return reply[workload.SecretSet](d)
}

func (d *double) DeleteSecret(_ context.Context, name string, force bool) (workload.Message, error) {
	d.saw("DeleteSecret", name, force)
	return reply[workload.Message](d)
}

func (d *double) Volumes(context.Context) ([]workload.VolumeInfo, error) {
	d.saw("Volumes")
	return reply[[]workload.VolumeInfo](d)
}

func (d *double) DeleteVolume(_ context.Context, name string) (workload.Message, error) {
	d.saw("DeleteVolume", name)
	return reply[workload.Message](d)
}
