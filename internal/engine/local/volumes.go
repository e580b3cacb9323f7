package local

import (
	"fmt"
	"os"
	"path/filepath"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// mounts returns what a container mounts, and where it finds that, by the names of the
// volumes: a process, which sees the machine as it is, in the folder itself.
func (c *container) mounts(rev *workload.Revision) (all []Mount, at map[string]string, err error) {
	at = map[string]string{}
	for _, m := range c.spec.VolumeMounts {
		v := c.r.pod.VolumeNamed(m.Name)
		if v == nil {
			return nil, nil, fmt.Errorf("the pod has no volume %s", m.Name) // the rules of a spec refuse that
		}
		mount := Mount{Target: m.MountPath, ReadOnly: m.ReadOnly || v.HostPath != ""}
		if e := v.EmptyDir; e != nil && e.Memory {
			if e.Size != nil {
				mount.Size = e.Size.Value()
			}
		} else if mount.Source, err = c.r.folderOf(rev, v); err != nil {
			f := fault.From(err)
			return nil, nil, &StartError{Err: err, Reason: workload.Reason{
				Code: engine.CodeVolume, Message: fmt.Sprintf("container %s cannot have the volume %s: %s", c.spec.Name, v.Name, f.Message), Fix: f.Hint,
			}}
		}
		all = append(all, mount)
		if at[v.Name] = m.MountPath; c.spec.Image == "" {
			at[v.Name] = mount.Source
		}
	}
	return all, at, nil
}

// folderOf returns the folder of a volume that is on a disk. The replica has it until it is
// gone.
func (r *replica) folderOf(rev *workload.Revision, v *workload.Volume) (string, error) {
	switch {
	case v.EmptyDir != nil:
		path := filepath.Join(r.folder("volumes"), v.Name)
		err := os.MkdirAll(path, 0o700)
		if err == nil {
			err = os.Chmod(path, 0o777) //nolint:gosec // within a folder of mode 0700
		}
		return path, err
	case r.e.cfg.Volumes == nil:
		return "", fault.New(fault.Unsupported, workload.CodeVolumesElse, "nothing here keeps volumes")
	case v.HostPath != "":
		return r.e.cfg.Volumes.Folder(v.HostPath, rev.Directory) // again for each start: links may have changed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if path, have := r.kept[v.Name]; have {
		return path, nil
	}
	path, release, err := r.e.cfg.Volumes.Use(v.PersistentVolumeClaim)
	if err != nil {
		return "", err
	}
	r.kept[v.Name], r.release = path, append(r.release, release)
	return path, nil
}
