package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// Where items may be.
const (
	schemeFile = "file://"
	schemeS3   = "s3://"
)

// checkSources checks where the items of a job are.
func (s *Service) checkSources(ctx context.Context, rev *workload.Revision, b *workload.BatchSubmission) error {
	for _, l := range []*workload.FilePathLister{b.FilePathLister, (*workload.FilePathLister)(b.DelimitedFiles)} {
		if l == nil {
			continue
		}
		files, err := s.files(ctx, rev, l, 1)
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

// listing is the files of a job, as they are found.
type listing struct {
	include, exclude []*regexp.Regexp
	most             int
	all              []string
	tooMany          bool
}

// add takes a file, if it is wanted, and reports whether there may be more.
func (l *listing) add(path string) bool {
	if (len(l.include) > 0 && !matches(l.include, path)) || matches(l.exclude, path) {
		return true
	}
	if l.tooMany = len(l.all) >= maxFiles; l.tooMany {
		return false
	}
	l.all = append(l.all, path)
	return len(l.all) < l.most
}

// files lists the files of a job, as paths with their scheme, in order; at most so many.
func (s *Service) files(ctx context.Context, rev *workload.Revision, from *workload.FilePathLister, most int) ([]string, error) {
	l := &listing{most: most}
	var err error
	if l.include, err = globs(from.Includes); err != nil {
		return nil, err
	}
	if l.exclude, err = globs(from.Excludes); err != nil {
		return nil, err
	}
	for _, asked := range from.S3Paths {
		if strings.HasPrefix(asked, schemeS3) {
			err = s.listS3(ctx, asked, l)
		} else {
			err = s.listFiles(rev, asked, l)
		}
		if l.tooMany {
			err = fault.New(fault.Invalid, "jobs.too_many_files", "there are more than %d files, which is as many as a job may have", maxFiles).
				WithHint("submit several jobs, each for a part of them")
		}
		if err != nil {
			return nil, err
		}
		if len(l.all) >= most {
			break
		}
	}
	slices.Sort(l.all)
	return slices.Compact(l.all), nil
}

// listFiles lists what is below a path of this machine.
func (s *Service) listFiles(rev *workload.Revision, asked string, l *listing) error {
	path, err := s.localPath(rev, asked)
	if err != nil {
		return err
	}
	if err := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.Type().IsRegular(): // a link is followed nowhere: it could lead out
			return nil
		case !l.add(schemeFile + at):
			return fs.SkipAll
		}
		return nil
	}); err != nil {
		return fault.New(fault.Invalid, codeNoFiles, "%s cannot be read: %w", asked, bare(err))
	}
	return nil
}

// listS3 lists the objects whose keys begin as a path does, if they may be read.
func (s *Service) listS3(ctx context.Context, asked string, l *listing) error {
	if s.cfg.Objects == nil {
		return fault.New(fault.Unsupported, codeS3, "%s is in S3, which jobs of this environment do not read", asked).
			WithHint("name the items in the job (item_list)")
	}
	if !s.mayRead(asked) {
		return fault.New(fault.Invalid, codeFolder, "%s is not among what jobs of this environment may read", asked).
			WithHint("whoever runs it says what they may: --s3-paths of cortex server, operator.s3Paths of the chart")
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(asked, schemeS3), "/")
	return s.cfg.Objects.List(ctx, bucket, prefix, func(key string) bool { return l.add(schemeS3 + bucket + "/" + key) })
}

// mayRead reports whether jobs may read what is below a path in S3.
func (s *Service) mayRead(path string) bool {
	return slices.ContainsFunc(s.cfg.S3Paths, func(allowed string) bool {
		if allowed == schemeS3+"*" {
			return true
		}
		// A bucket without a prefix is no prefix of another bucket's name.
		if !strings.Contains(strings.TrimPrefix(allowed, schemeS3), "/") {
			return path == allowed || strings.HasPrefix(path, allowed+"/")
		}
		return strings.HasPrefix(path, allowed)
	})
}

// source returns a file of a job from a byte on.
func (s *Service) source(ctx context.Context, path string, from int64) (io.ReadCloser, error) {
	if rest, inS3 := strings.CutPrefix(path, schemeS3); inS3 {
		bucket, key, _ := strings.Cut(rest, "/")
		return s.cfg.Objects.Open(ctx, bucket, key, from)
	}
	f, err := openLocal(path)
	if err == nil {
		_, err = f.Seek(from, io.SeekStart)
	}
	return f, err
}

// localPath returns where a path of a submission is, if items may be read there: in the
// folder of the API's file, or in one that this machine lets APIs have.
func (s *Service) localPath(rev *workload.Revision, asked string) (string, error) {
	path, local := strings.CutPrefix(asked, schemeFile)
	if !local {
		return "", fault.New(fault.Invalid, codeFolder, "%s is neither s3:// nor file://", asked)
	}
	if s.cfg.Elsewhere {
		return "", fault.New(fault.Unsupported, codeFolder, "%s is a file of one machine, and workers of this environment run on others", asked).
			WithHint("put the files into S3, or name the items in the job (item_list)")
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
	f, err := os.Open(strings.TrimPrefix(path, schemeFile))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // nothing was read
		return nil, errors.New("it is no file any more")
	}
	return f, nil
}
