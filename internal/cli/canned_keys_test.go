package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

const cannedKey = "cxk_AAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB_CCCCCC"

func (c *canned) Keys(context.Context) ([]workload.Key, error) {
	return c.KeyList, c.call("Keys")
}

func (c *canned) Calls(_ context.Context, q workload.CallsQuery) ([]workload.Calls, error) {
	return c.CallRows, c.call("Calls", q.API, q.Caller, q.Since)
}

func (c *canned) CreateKey(_ context.Context, r workload.KeyRequest) (workload.KeyMade, error) {
	made := workload.KeyMade{Key: workload.Key{Name: r.Name, ID: "AAAAAAAA", APIs: r.APIs, Labels: r.Labels, State: workload.KeyActive}, Text: cannedKey}
	if r.ExpiresIn > 0 {
		made.ExpiresAt = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	return made, c.call("CreateKey", r.Name, strings.Join(r.APIs, ","), r.AllAPIs, fmt.Sprint(r.Labels), r.ExpiresIn)
}

func (c *canned) RotateKey(_ context.Context, name string, r workload.KeyRotation) (workload.KeyMade, error) {
	return workload.KeyMade{Key: workload.Key{Name: name, ID: "AAAAAAAA", APIs: []string{"iris"}, State: workload.KeyActive}, Text: cannedKey}, c.call("RotateKey", name, r.Grace, r.ExpiresIn)
}

func (c *canned) RevokeKey(_ context.Context, name string) (workload.Message, error) {
	return workload.Message{Message: "revoked the key " + name}, c.call("RevokeKey", name)
}
