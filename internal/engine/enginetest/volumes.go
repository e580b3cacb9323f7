package enginetest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// mounting is a revision whose container has volumes, each at /volumes/<name>.
func (s *scene) mounting(name, id string, volumes ...workload.Volume) *workload.Revision {
	rev := s.revision(name, id, nil)
	rev.Pod.Volumes = volumes
	c := &rev.Pod.Containers[0]
	for _, v := range volumes {
		c.VolumeMounts = append(c.VolumeMounts, workload.VolumeMount{Name: v.Name, MountPath: "/volumes/" + v.Name})
	}
	return rev
}

// folder is where a container finds a volume: at its path, or where a process is told.
func (s *scene) folder(r engine.Replica, volume string) string {
	s.Helper()
	at := s.environment(r)[workload.EnvVolume(volume)]
	if s.OwnNetwork && at != "/volumes/"+volume || !filepath.IsAbs(at) {
		s.Fatalf("%s=%q in the container, want where it has the volume", workload.EnvVolume(volume), at)
	}
	return at
}

func (s *scene) has(r engine.Replica, file string) bool {
	s.Helper()
	return s.mustGet(r, "/exists?file="+file) == "true"
}

// A kept volume is there for the next replica and the next API, and is deleted by nobody
// while a replica has it.
func keptVolumes(s *scene) {
	kept := workload.Volume{Name: "hf-cache", PersistentVolumeClaim: "models"}
	s.apply(s.mounting("iris", "r1", kept), 1)
	r := s.settled("iris", 1).Replicas[0]
	file := filepath.Join(s.folder(r, "hf-cache"), "weights")
	s.mustGet(r, "/touch?file="+file)
	if !s.has(r, file) {
		s.Fatalf("the container cannot write to its volume")
	}
	if err := s.DeleteVolume("models"); fault.Code(err) != workload.CodeVolumeInUse {
		s.Errorf("deleting a volume that a replica has = %v, want volumes.in_use", err)
	}
	if err := s.Engine.Remove(s.Context(), "iris"); err != nil {
		s.Fatal(err)
	}
	s.eventually("the end of iris", func() bool {
		_, err := s.Engine.Status(s.Context(), "iris")
		return fault.Is(err, fault.NotFound)
	})
	s.apply(s.mounting("rose", "r1", workload.Volume{Name: "elsewhere", PersistentVolumeClaim: "models"}), 1)
	r = s.settled("rose", 1).Replicas[0]
	if !s.has(r, filepath.Join(s.folder(r, "elsewhere"), "weights")) {
		s.Error("the volume of a deleted API is empty, want what that had written")
	}
	if err := s.Engine.Remove(s.Context(), "rose"); err != nil {
		s.Fatal(err)
	}
	s.eventually("that nobody has the volume", func() bool { return s.DeleteVolume("models") == nil })
	if err := s.DeleteVolume("models"); fault.Code(err) != workload.CodeVolumeNotFound {
		s.Errorf("deleting it twice = %v, want volumes.not_found", err)
	}
}

// An empty folder outlives a container and not its replica; one in memory is one, of its size.
func scratchVolumes(s *scene) {
	size := workload.MustQuantity("32Mi")
	volumes := []workload.Volume{{Name: "tmp", EmptyDir: &workload.EmptyDir{}}}
	if s.OwnNetwork {
		volumes = append(volumes, workload.Volume{Name: "fast", EmptyDir: &workload.EmptyDir{Memory: true, Size: &size}})
	}
	s.apply(s.mounting("iris", "r1", volumes...), 1)
	r := s.settled("iris", 1).Replicas[0]
	file := filepath.Join(s.folder(r, "tmp"), "scratch")
	if s.has(r, file) {
		s.Errorf("a new replica has files already")
	}
	s.mustGet(r, "/touch?file="+file)
	if s.OwnNetwork {
		s.mustGet(r, "/touch?file="+filepath.Join(s.folder(r, "fast"), "f"))
		mounts := s.mustGet(r, "/mounts")
		line := ""
		for l := range strings.Lines(mounts) {
			if strings.Contains(l, " /volumes/fast ") {
				line = l
			}
		}
		if !strings.Contains(line, " tmpfs ") || !s.Delegates && !strings.Contains(line, "size=32768k") {
			s.Errorf("the folder in memory is %q, want a tmpfs of 32768k", line)
		}
	}
	_, _, _ = s.get(r, "/exit?code=1")
	r = s.until("the container again", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].Restarts > 0 && st.Replicas[0].State == workload.Ready
	}).Replicas[0]
	s.eventually("that it answers", func() bool { // a sidecar may notice last that its container was away
		status, _, err := s.get(r, "/exists?file="+file)
		return err == nil && status == http.StatusOK
	})
	if !s.has(r, file) {
		s.Error("what a container wrote is gone after its restart")
	}
	next := s.mounting("iris", "r2", volumes...)
	s.apply(next, 1)
	s.until("the next version alone", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].ID != r.ID && st.Replicas[0].State == workload.Ready
	})
	r = s.settled("iris", 1).Replicas[0]
	if s.has(r, filepath.Join(s.folder(r, "tmp"), "scratch")) {
		s.Error("another replica has the scratch files of the one before")
	}
}

// A folder of the machine is there to be read; a container in Docker cannot write to it.
// One that is not there is the reason of the replica, until it is.
func hostFolders(s *scene) {
	weights := filepath.Join(s.dir, "weights")
	if err := os.MkdirAll(weights, 0o755); err != nil { //nolint:gosec // for whatever user a container has
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(weights, "model"), nil, 0o644); err != nil { //nolint:gosec // likewise
		s.Fatal(err)
	}
	s.apply(s.mounting("iris", "r1", workload.Volume{Name: "near", HostPath: "./weights"}, workload.Volume{Name: "far", HostPath: weights}), 1)
	r := s.settled("iris", 1).Replicas[0]
	for _, name := range []string{"near", "far"} {
		at := s.folder(r, name)
		if !s.has(r, filepath.Join(at, "model")) {
			s.Errorf("the folder %s has no model in it", name)
		}
		if s.OwnNetwork {
			s.mustGet(r, "/touch?file="+filepath.Join(at, "written"))
			if _, err := os.Stat(filepath.Join(weights, "written")); err == nil {
				s.Errorf("a container has written into the folder %s", name)
			}
		}
	}
	later := filepath.Join(s.dir, "later")
	s.apply(s.mounting("rose", "r1", workload.Volume{Name: "later", HostPath: later}), 1)
	st := s.until("why rose does not start", "rose", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].Reason != nil && st.Replicas[0].Reason.Code == engine.CodeVolume
	})
	if reason := st.Replicas[0].Reason; !strings.Contains(reason.Message, later) || reason.Fix == "" {
		s.Errorf("reason = %+v, want the folder and what to do", reason)
	}
	if err := os.Mkdir(later, 0o700); err != nil {
		s.Fatal(err)
	}
	s.settled("rose", 1)
}
