package operator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// shelf has some volumes; only /srv is a folder of its machine.
type shelf struct {
	names   []string
	deleted string
}

func (s *shelf) List() ([]string, error) { return s.names, nil }

func (s *shelf) Path(name string) string { return "/state/volumes/" + name }

func (s *shelf) Delete(name string) error {
	if !slices.Contains(s.names, name) {
		return fault.New(fault.NotFound, workload.CodeVolumeNotFound, "there is none")
	}
	s.deleted += name + " "
	return nil
}

func (s *shelf) Folder(path, base string) (string, error) {
	if path = workload.HostPathIn(base, path); path != "/srv" {
		return "", fault.New(fault.Invalid, workload.CodeNoHostFolder, "there is no folder %s", path).WithHint("make it")
	}
	return path, nil
}

// mounting is an API with volumes, each as its key and value stand in a file.
func mounting(name string, sources ...string) string {
	text := realtime(name, "") + "        volume_mounts:\n"
	for i := range sources {
		text += "          - {name: v" + itoa(i) + ", mount_path: /v" + itoa(i) + "}\n"
	}
	text += "    volumes:\n"
	for i, source := range sources {
		text += "      - {name: v" + itoa(i) + ", " + source + "}\n"
	}
	return text
}

func volumeWorld(t *testing.T) (*world, *shelf) {
	w, s := newWorld(t), &shelf{names: []string{"models", "old"}}
	w.oneMachine, w.volumes = true, s
	return w, s
}

// Who mounts a volume is said, and keeps it.
func TestVolumesAndWhoUsesThem(t *testing.T) {
	t.Parallel()
	w, s := volumeWorld(t)
	w.run()
	w.deploy(mounting("iris", "persistent_volume_claim: models"))
	w.live("iris")
	w.deploy(mounting("rose", "persistent_volume_claim: models", "empty_dir: {}"))
	all, err := w.Volumes(t.Context())
	want := []workload.VolumeInfo{{Name: "models", UsedBy: []string{"iris", "rose"}}, {Name: "old", UsedBy: []string{}}}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("Volumes() = %v, differs (-want +got):\n%s", err, diff)
	}
	w.info.StateDir = "/state"
	if all, _ = w.Volumes(t.Context()); all[0].Path != "/state/volumes/models" {
		t.Errorf("Volumes() for a user of the machine = %+v, want the folder", all)
	}
	_, err = w.DeleteVolume(t.Context(), "models")
	wantFault(t, "DeleteVolume(models)", err, fault.Conflict, workload.CodeVolumeInUse)
	if !strings.Contains(err.Error(), "iris, rose") || s.deleted != "" {
		t.Errorf("DeleteVolume(models) = %v, deleted %q; want both named, and nothing deleted", err, s.deleted)
	}
	if m, err := w.DeleteVolume(t.Context(), "old"); err != nil || m.Message != "deleted the volume old" || s.deleted != "old " {
		t.Errorf("DeleteVolume(old) = %+v, %v, deleted %q", m, err, s.deleted)
	}
	_, err = w.DeleteVolume(t.Context(), "none")
	wantFault(t, "DeleteVolume(none)", err, fault.NotFound, workload.CodeVolumeNotFound)
}

// What serves until its update is live has its volumes too.
func TestMountersOf(t *testing.T) {
	t.Parallel()
	with := func(claim string) *workload.Revision {
		return &workload.Revision{Spec: workload.Spec{Name: "iris", Pod: &workload.Pod{Volumes: []workload.Volume{{Name: "v", PersistentVolumeClaim: claim}}}}}
	}
	deployed := []store.Workload{{Revision: with("new"), Serving: with("old")}}
	for claim, want := range map[string]int{"new": 1, "old": 1, "other": 0, "v": 0} {
		if got := usersOf(deployed, mounts(claim)); len(got) != want {
			t.Errorf("usersOf(%s) = %v, want %d", claim, got, want)
		}
	}
}

// Where others keep volumes, that is said, and a folder of the machine is refused with what
// to do instead.
func TestVolumesOfKubernetes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Volumes(t.Context())
	wantFault(t, "Volumes()", err, fault.Unsupported, workload.CodeVolumesElse)
	_, err = w.DeleteVolume(t.Context(), "models")
	wantFault(t, "DeleteVolume()", err, fault.Unsupported, workload.CodeVolumesElse)
	_, err = w.Deploy(t.Context(), workload.DeployRequest{Config: mounting("iris", "persistent_volume_claim: models", "host_path: /srv")})
	p := fault.From(err).Problems
	if len(p) != 1 || p[0].Code != workload.CodeOnlyOneMachine || p[0].Path != "pod.volumes[1].host_path" || !strings.Contains(p[0].Hint, "persistent_volume_claim") {
		t.Errorf("Deploy() = %v, %+v, want host_path refused with what to do", err, p)
	}
}

// A folder that cannot be mounted is told with its place, before anything is deployed; a
// relative one is beside the file.
func TestDeployWantsItsFolders(t *testing.T) {
	t.Parallel()
	w, _ := volumeWorld(t)
	config := mounting("iris", "host_path: /srv", "host_path: ./weights", "host_path: ../srv")
	_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Directory: "/project", Config: config})
	p := fault.From(err).Problems
	if len(p) != 1 || p[0].Code != workload.CodeNoHostFolder || p[0].Path != "pod.volumes[1].host_path" || p[0].Line == 0 || p[0].Message != "there is no folder /project/weights" || p[0].Hint != "make it" {
		t.Errorf("Deploy() = %v, %+v, want the folder that is not there", err, p)
	}
}

// Every volume is asked about once, before anything is looked at, and again at a rollback.
func TestDeployAsksForItsVolumes(t *testing.T) {
	t.Parallel()
	w, _ := volumeWorld(t)
	w.run()
	var asked []string
	w.useVolumes = func(_ context.Context, names []string) error {
		asked = append(asked, strings.Join(names, " "))
		if slices.Contains(names, "payments") {
			return fault.New(fault.Forbidden, "auth.forbidden", "no")
		}
		return nil
	}
	w.deploy(mounting("iris", "persistent_volume_claim: models", "host_path: /srv", "empty_dir: {}") + mounting("rose", "persistent_volume_claim: models"))
	_, err := w.Deploy(t.Context(), workload.DeployRequest{Config: mounting("iris", "persistent_volume_claim: payments")})
	wantFault(t, "Deploy() of a volume that may not be used", err, fault.Forbidden, "auth.forbidden")
	w.deploy(realtime("iris", ""))
	w.live("iris")
	if _, err := w.Rollback(t.Context(), "iris", "v1"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/srv models", "payments", "/srv models"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	w.useVolumes = func(context.Context, []string) error { return fault.New(fault.Forbidden, "auth.forbidden", "no") }
	w.deploy(realtime("iris", ""))
	_, err = w.Rollback(t.Context(), "iris", "v1")
	wantFault(t, "Rollback() to a volume that may not be used any more", err, fault.Forbidden, "auth.forbidden")
}
