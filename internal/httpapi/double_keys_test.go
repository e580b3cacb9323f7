package httpapi_test

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (d *double) Keys(context.Context) ([]workload.Key, error) {
	d.saw("Keys")
	return reply[[]workload.Key](d)
}

func (d *double) Calls(_ context.Context, q workload.CallsQuery) ([]workload.Calls, error) {
	d.saw("Calls", q)
	return reply[[]workload.Calls](d)
}

func (d *double) CreateKey(_ context.Context, req workload.KeyRequest) (workload.KeyMade, error) {
	d.saw("CreateKey", req)
	return reply[workload.KeyMade](d)
}

func (d *double) RotateKey(_ context.Context, name string, r workload.KeyRotation) (workload.KeyMade, error) {
	d.saw("RotateKey", name, r)
	return reply[workload.KeyMade](d)
}

func (d *double) RevokeKey(_ context.Context, name string) (workload.Message, error) {
	d.saw("RevokeKey", name)
	return reply[workload.Message](d)
}
