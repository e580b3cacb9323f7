package jobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of the files of a job.
const (
	maxFiles = 200_000
	maxGlobs = 100
	maxGlob  = 1000 // bytes
)

const scheme = "file://"

// checkSources checks where the items of a job are.
func (s *Service) checkSources(rev *workload.Revision, b *workload.BatchSubmission) error {
	for _, l := range []*workload.FilePathLister{b.FilePathLister, (*workload.FilePathLister)(b.DelimitedFiles)} {
		if l == nil {
			continue
		}
		files, err := s.files(rev, l, 1)
		if err == nil && len(files) == 0 {
			err = fault.New(fault.Invalid, codeNoFiles, "no files were found").
				WithHint("check the paths, and what includes and excludes leave of them; --dry-run lists the files")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// files lists the files of a job as paths that begin with file://, in order; at most so
// many.
func (s *Service) files(rev *workload.Revision, l *workload.FilePathLister, most int) ([]string, error) {
	include, err := globs(l.Includes)
	if err != nil {
		return nil, err
	}
	exclude, err := globs(l.Excludes)
	if err != nil {
		return nil, err
	}
	wanted := func(path string) bool {
		return (len(include) == 0 || matches(include, path)) && !matches(exclude, path)
	}
	var all []string
	for _, asked := range l.S3Paths {
		path, err := s.localPath(rev, asked)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case !d.Type().IsRegular(): // a link is followed nowhere: it could lead out
				return nil
			case !wanted(scheme + at):
				return nil
			case len(all) >= maxFiles:
				return fault.New(fault.Invalid, "jobs.too_many_files", "there are more than %d files, which is as many as a job may have", maxFiles).
					WithHint("submit several jobs, each for a part of them")
			}
			all = append(all, scheme+at)
			if len(all) >= most {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			if fault.Code(err) != "" {
				return nil, err
			}
			return nil, fault.New(fault.Invalid, codeNoFiles, "%s cannot be read: %w", asked, bare(err))
		}
		if len(all) >= most {
			break
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// localPath returns where a path of a submission is, if items may be read there: in the
// folder of the API's file, or in one that this machine lets APIs have.
func (s *Service) localPath(rev *workload.Revision, asked string) (string, error) {
	path, local := strings.CutPrefix(asked, scheme)
	if local && s.cfg.Elsewhere {
		return "", fault.New(fault.Unsupported, codeFolder, "%s is a file of one machine, and workers of this environment run on others", asked).
			WithHint("name the items in the job (item_list)")
	}
	if !local && s.cfg.Elsewhere {
		return "", fault.New(fault.Unsupported, codeS3, "%s is in S3, which jobs of this environment do not read", asked).
			WithHint("name the items in the job (item_list): the worker can be given the paths, and read them itself")
	}
	if !local {
		return "", fault.New(fault.Unsupported, codeS3, "%s is in S3, which jobs on one machine do not read", asked).
			WithHint("copy the files into the folder of the API's file, and name that: file://items")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(rev.Directory, path)
	}
	real, err := filepath.EvalSymlinks(path)
	for _, folder := range append([]string{rev.Directory}, s.cfg.Folders...) {
		allowed, err2 := filepath.EvalSymlinks(folder)
		if folder == "" || err2 != nil {
			continue
		}
		switch {
		case err == nil && inside(real, allowed):
			return real, nil
		case err != nil && inside(filepath.Clean(path), folder):
			return "", fault.New(fault.Invalid, codeNoFiles, "%s cannot be read: %w", asked, bare(err))
		}
	}
	// Whether there is such a file is nothing that callers are told.
	return "", fault.New(fault.Invalid, codeFolder, "%s is not in the folder of the file that %s was deployed from", asked, rev.Name).
		WithHint("put the files there; on a server, --host-paths names folders that may be read too")
}

func inside(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func matches(list []*regexp.Regexp, path string) bool {
	return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(path) })
}

// globs makes regular expressions of globs: they take time in proportion to the path,
// whatever the glob.
func globs(list []string) ([]*regexp.Regexp, error) {
	if len(list) > maxGlobs {
		return nil, fault.New(fault.Invalid, "jobs.bad_glob", "there are %d globs, and at most %d may be given", len(list), maxGlobs)
	}
	var all []*regexp.Regexp
	for _, g := range list {
		text, err := expression(g)
		var re *regexp.Regexp
		if err == nil {
			re, err = regexp.Compile(text)
		}
		if err != nil {
			return nil, fault.New(fault.Invalid, "jobs.bad_glob", "%.100q is no glob: %w", g, err).
				WithHint(`* is any text without /, ** any text, ? a character, [a-z] one of several, {a,b} one of several texts; \ takes what follows as it is`)
		}
		all = append(all, re)
	}
	return all, nil
}

// expression is a glob as a regular expression.
func expression(glob string) (string, error) {
	if len(glob) > maxGlob {
		return "", fmt.Errorf("it has %d bytes, and may have %d", len(glob), maxGlob)
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	depth := 0
	for i, runes := 0, []rune(glob); i < len(runes); i++ {
		switch c := runes[i]; {
		case c == '\\' && i+1 < len(runes):
			i++
			b.WriteString(regexp.QuoteMeta(string(runes[i])))
		case c == '*' && i+1 < len(runes) && runes[i+1] == '*':
			i++
			b.WriteString(`.*`)
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '{':
			depth++
			b.WriteString(`(?:`)
		case c == '}' && depth > 0:
			depth--
			b.WriteString(`)`)
		case c == ',' && depth > 0:
			b.WriteString(`|`)
		case c == '[':
			end := slices.Index(runes[i:], ']')
			if end < 2 {
				return "", errors.New("[ has no ]")
			}
			class := string(runes[i+1 : i+end])
			i += end
			b.WriteString(`[`)
			if class[0] == '!' || class[0] == '^' {
				b.WriteString(`^`)
				class = class[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(class) + `]`)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if depth > 0 {
		return "", errors.New("{ has no }")
	}
	return b.String() + `\z`, nil
}

// openLocal opens a file of a job, which may have become something else since it was listed.
func openLocal(path string) (*os.File, error) {
	f, err := os.Open(strings.TrimPrefix(path, scheme))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // nothing was read
		return nil, errors.New("it is no file any more")
	}
	return f, nil
}
