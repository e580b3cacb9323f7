package cli

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (c *canned) Secrets(context.Context) ([]workload.Secret, error) {
	return c.SecretList, c.call("Secrets")
}

func (c *canned) SetSecret(_ context.Context, name string, value []byte) (workload.SecretSet, error) {
	set := workload.SecretSet{Name: name, Created: true, RunWithOld: []string{}}
	for _, s := range c.SecretList {
		if s.Name == name {
			set.Created, set.RunWithOld = false, s.UsedBy
		}
	}
	return set, c.call("SetSecret", name, string(value))
}

func (c *canned) DeleteSecret(_ context.Context, name string, force bool) (workload.Message, error) {
	return workload.Message{Message: "deleted the secret " + name}, c.call("DeleteSecret", name, "force", force)
}

func (c *canned) Volumes(context.Context) ([]workload.VolumeInfo, error) {
	return c.VolumeList, c.call("Volumes")
}

func (c *canned) DeleteVolume(_ context.Context, name string) (workload.Message, error) {
	return workload.Message{Message: "deleted the volume " + name}, c.call("DeleteVolume", name)
}
