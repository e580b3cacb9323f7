package operator

import (
	"context"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// Volumes keeps the folders that outlive replicas, and knows which folders of the machine
// may be mounted; package volumes has the contract.
type Volumes interface {
	List() (names []string, err error)
	Path(name string) string
	Delete(name string) error
	Folder(path, base string) (string, error)
}

// Volumes returns the volumes that this machine keeps, and who mounts them.
func (o *Operator) Volumes(ctx context.Context) ([]workload.VolumeInfo, error) {
	if o.volumes == nil {
		return nil, keptElsewhere()
	}
	names, err := o.volumes.List()
	if err != nil {
		return nil, err
	}
	deployed, err := o.store.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]workload.VolumeInfo, len(names))
	for i, name := range names {
		all[i] = workload.VolumeInfo{Name: name, UsedBy: usersOf(deployed, mounts(name))}
		if o.info.StateDir != "" { // callers are users of this machine
			all[i].Path = o.volumes.Path(name)
		}
	}
	return all, nil
}

// DeleteVolume deletes a volume that no API and no replica has.
func (o *Operator) DeleteVolume(ctx context.Context, name string) (message workload.Message, err error) {
	if o.volumes == nil {
		return message, keptElsewhere()
	}
	err = o.change(ctx, func(ctx context.Context) error {
		deployed, err := o.store.List(ctx)
		if err != nil {
			return err
		}
		if users := usersOf(deployed, mounts(name)); len(users) > 0 {
			return fault.New(fault.Conflict, workload.CodeVolumeInUse, "the volume %s is used by %s", name, strings.Join(users, ", ")).
				WithHint("deploy them without it or delete them first")
		}
		return o.volumes.Delete(name)
	})
	if err == nil {
		message.Message = "deleted the volume " + name
	}
	return message, err
}

func keptElsewhere() error {
	return fault.New(fault.Unsupported, workload.CodeVolumesElse, "on Kubernetes volumes are claims, which the cluster keeps").
		WithHint("kubectl get persistentvolumeclaims in the namespace of the APIs shows them")
}

// mounts is whether replicas of a revision mount a volume.
func mounts(volume string) func(*workload.Revision) bool {
	return func(r *workload.Revision) bool { return r.Mounts(volume) }
}

// notHostFolders returns where an API mounts folders of the machine that it cannot have.
func (o *Operator) notHostFolders(e manifest.Entry, base string) (problems []fault.Problem) {
	for _, f := range e.Spec.HostFolders() {
		if o.volumes == nil {
			continue // refused for another reason
		}
		if _, err := o.volumes.Folder(f.Folder, base); err != nil {
			why := fault.From(err)
			p := e.Problem(f.Path, why.Code, "%s", why.Message)
			p.Found, p.Hint = f.Folder, why.Hint
			problems = append(problems, p)
		}
	}
	return problems
}

// permittedVolumes asks whether the caller may use every volume that replicas of the file
// would have: who may deploy could read and change what is in it otherwise.
func (o *Operator) permittedVolumes(ctx context.Context, file *manifest.File) error {
	return permittedUse(ctx, file, (*workload.Spec).VolumesUsed, o.useVolumes)
}
