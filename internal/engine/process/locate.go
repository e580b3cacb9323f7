package process

import (
	"path/filepath"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// maxPath bounds a PATH from outside. One that is longer is taken for none.
const maxPath = 64 << 10

// Locate finds what the processes of a pod run in dir, in the folders of path: that of
// their caller. Nil where path holds nothing that could be used.
//
// Of path it keeps the folders that exist, once, and by their real names: a version
// manager's link for one shell leads nowhere once that shell is gone, and the same
// programs would have another name in each of them. A program keeps the name that it
// has in its folder, by which Python recognises its virtual environment.
func Locate(pod *workload.Pod, dir, path string) *workload.Programs {
	if len(path) > maxPath || strings.ContainsRune(path, 0) {
		return nil
	}
	var folders []string
	for _, f := range filepath.SplitList(path) {
		if filepath.IsAbs(f) {
			var err error
			if f, err = filepath.EvalSymlinks(f); err != nil {
				continue
			}
		}
		if f != "" && !slices.Contains(folders, f) {
			folders = append(folders, f)
		}
	}
	if len(folders) == 0 {
		return nil
	}
	p := &workload.Programs{Path: strings.Join(folders, string(filepath.ListSeparator))}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		words := slices.Concat(c.Command, c.Args)
		if _, own := c.Env["PATH"]; own || c.Image != "" || len(words) == 0 || strings.ContainsRune(words[0], filepath.Separator) {
			continue // its name is a path already, or it is looked for elsewhere
		}
		if full, err := findExecutable(words[0], dir, p.Path); err == nil {
			if p.Found == nil {
				p.Found = map[string]string{}
			}
			p.Found[words[0]] = full
		}
	}
	return p
}
