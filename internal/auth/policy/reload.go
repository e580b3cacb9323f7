package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// lookEvery is how often Run looks at the file.
const lookEvery = 2 * time.Second

// maxBadText bounds what Describe says of a file that is not valid.
const maxBadText = 240

// watched is the policy file as it was seen last.
type watched struct {
	path    string
	info    os.FileInfo       // of the file that was read last; nil when it could not be
	inForce [sha256.Size]byte // content in force
	refused [sha256.Size]byte // content that was refused last
	trouble string            // why it could not be read last
}

// took remembers the content that is in force.
func (w *watched) took(data []byte) {
	w.inForce = sha256.Sum256(data)
	w.refused = [sha256.Size]byte{}
}

// changed reports whether the file should be read again. Links are followed, so a
// volume of Kubernetes, which swaps a link, shows another inode.
func (w *watched) changed() bool {
	info, err := os.Stat(w.path)
	return err != nil || w.info == nil || !os.SameFile(info, w.info) ||
		info.ModTime() != w.info.ModTime() || info.Size() != w.info.Size()
}

// read returns the content, and one byte more than a file may have when it has more.
func (w *watched) read() ([]byte, error) {
	w.info = nil
	info, err := os.Stat(w.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", w.path) // and opening a pipe would wait
	}
	f, err := os.Open(w.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Of the open file: it may have been replaced since.
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", w.path, err)
	}
	w.info = info
	return data, nil
}

func (a *Authorizer) watch(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			a.look()
		}
	}
}

// look takes the file if it has changed and is valid. Of one that is not, it tells
// once.
func (a *Authorizer) look() {
	w := &a.file
	if !w.changed() {
		return
	}
	data, err := w.read()
	if err != nil {
		if text := cause(err); text != w.trouble {
			w.trouble = text
			w.refused = [sha256.Size]byte{}
			a.refuse(text)
		}
		return
	}
	w.trouble = ""
	sum := sha256.Sum256(data)
	switch sum {
	case w.refused:
		return
	case w.inForce:
		if f := a.force.Load(); f.bad != "" {
			w.refused = [sha256.Size]byte{}
			a.force.Store(&force{snapshot: f.snapshot})
			a.cfg.Log.Info("the policy file is again what is in force", "policy", a.Describe())
		}
		return
	}
	s, err := load(a.cfg.File, data)
	if err != nil {
		w.refused = sum
		a.refuse(firstProblem(err))
		return
	}
	w.took(data)
	a.force.Store(&force{snapshot: s})
	a.reloads.Add(1)
	a.cfg.Log.Info("a new policy is in force", "policy", a.Describe())
}

func (a *Authorizer) refuse(why string) {
	a.failures.Add(1)
	a.force.Store(&force{snapshot: a.force.Load().snapshot, bad: why})
	a.cfg.Log.Error("the policy file is not valid; what was in force stays in force", "file", a.cfg.File, "error", why)
}

// cause is why a file cannot be read, without the path that Describe names anyway.
func cause(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// firstProblem is the first thing that is wrong with a file, and how many more are.
func firstProblem(err error) string {
	problems := fault.From(err).Problems
	if len(problems) == 0 {
		return err.Error()
	}
	p := problems[0]
	text := p.Message
	if p.Line > 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	if cut := []rune(text); len(cut) > maxBadText {
		text = string(cut[:maxBadText]) + "…"
	}
	if n := len(problems) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}
