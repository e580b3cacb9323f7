package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// callersPath is path with the folders that are relative to where the caller stands
// made absolute: whoever reads it stands elsewhere.
func callersPath(path string) string {
	folders := filepath.SplitList(path)
	for i, f := range folders {
		if full, err := filepath.Abs(f); err == nil && f != "" {
			folders[i] = full
		}
	}
	return strings.Join(folders, string(filepath.ListSeparator))
}

// virtual reports whether a program is one of a virtual environment, of Python or conda.
func virtual(program string) bool {
	root := filepath.Dir(filepath.Dir(program))
	for _, name := range []string{"pyvenv.cfg", "conda-meta"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			return true
		}
	}
	return false
}

// sayPrograms says which programs were meant by the commands of what was deployed,
// where that is not obvious: of a virtual environment there is often more than one.
func (a *app) sayPrograms(results []workload.DeployResult) {
	said := map[string]bool{}
	for _, r := range results {
		if r.Error != "" || r.Action == workload.ActionNone || r.API == nil || r.API.Spec == nil || r.API.Spec.Programs == nil {
			continue
		}
		found := r.API.Spec.Programs.Found
		for _, name := range slices.Sorted(maps.Keys(found)) {
			line := name + " → " + found[name]
			if !said[line] && virtual(found[name]) {
				a.note("%s", line)
			}
			said[line] = true
		}
	}
}

// sayInPlace says which APIs run in their folder itself: what is saved there reaches them
// at their next restart.
func (a *app) sayInPlace(results []workload.DeployResult) {
	for _, r := range results {
		if r.Error != "" || r.Action == workload.ActionNone || r.API == nil || r.API.Spec == nil || r.API.Spec.Code == nil || r.API.Spec.Code.InPlace == "" {
			continue
		}
		a.note("%s runs in %s itself and not in a copy, as %s", r.API.Spec.Name, r.API.Spec.Directory, r.API.Spec.Code.InPlace)
	}
}
