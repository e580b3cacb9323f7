package workload

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// MaxVolumes is how many volumes one machine keeps.
const MaxVolumes = 500

// Codes of what is wrong with a volume.
const (
	CodeVolumeNotFound = "volumes.not_found"
	CodeVolumeInUse    = "volumes.in_use"
	CodeTooManyVolumes = "volumes.too_many"
	CodeVolumesElse    = "volumes.not_kept_here" // somebody else keeps them
	CodeVolumeFailed   = "volumes.folder_failed" // the disk says so
	CodeNoHostFolder   = "volumes.no_such_folder"
	CodeHostFolder     = "volumes.folder_not_allowed"
)

// VolumeInfo is a volume that one machine keeps.
type VolumeInfo struct {
	Name   string   `json:"name"`
	Path   string   `json:"path,omitempty"` // its folder, to users of the machine
	UsedBy []string `json:"used_by"`        // APIs that are deployed and mount it, by name
}

var volumeName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(ObjectPattern) })

// IsVolumeName reports whether a kept volume could have a name.
func IsVolumeName(text string) bool {
	return len(text) <= MaxObjectNameLength && volumeName().MatchString(text)
}

// EnvVolume is the variable by which a container finds a volume of its pod wherever it
// runs: CORTEX_VOLUME_WEIGHTS of the volume weights.
func EnvVolume(volume string) string {
	return "CORTEX_VOLUME_" + strings.ToUpper(strings.ReplaceAll(volume, "-", "_"))
}

// VolumesUsed returns the name of every kept volume, and the path of every folder of the
// machine, that replicas of s mount, each once.
func (s *Spec) VolumesUsed() []string {
	used := map[string]bool{}
	eachVolume(s, func(_ string, v *Volume) {
		used[v.PersistentVolumeClaim] = true
		used[v.HostPath] = true
	})
	delete(used, "")
	return slices.Sorted(maps.Keys(used))
}

// Mounts reports whether replicas of s have a kept volume.
func (s *Spec) Mounts(name string) bool {
	found := false
	eachVolume(s, func(_ string, v *Volume) { found = found || v.PersistentVolumeClaim == name })
	return found
}

// HostFolder is one place of a spec that names a folder of the machine.
type HostFolder struct{ Path, Folder string }

// HostFolders returns them in the order of the file.
func (s *Spec) HostFolders() (all []HostFolder) {
	eachVolume(s, func(path string, v *Volume) {
		if v.HostPath != "" {
			all = append(all, HostFolder{path + ".host_path", v.HostPath})
		}
	})
	return all
}

// VolumeNamed returns the volume of p with a name; nil where there is none.
func (p *Pod) VolumeNamed(name string) *Volume {
	for i := range p.Volumes {
		if p.Volumes[i].Name == name {
			return &p.Volumes[i]
		}
	}
	return nil
}

// HostPathIn is the folder that a host_path means in a file of the given folder.
func HostPathIn(folder, path string) string {
	if filepath.IsAbs(path) || folder == "" {
		return path
	}
	return filepath.Join(folder, path)
}
