package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// Size of a terminal that does not tell its own.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// board is a block of lines at the end of a terminal's output that is drawn over
// itself, and only when it has changed.
type board struct {
	out   io.Writer
	on    bool
	drawn []string
}

// draw replaces what was drawn before by lines, each cut to the width of the
// terminal; more than fit on it are only counted.
func (b *board) draw(lines []string) {
	width, height := screen(b.out)
	if most := height - 2; len(lines) > most {
		rest := len(lines) - most + 1
		lines = append(slices.Clone(lines[:most-1]), fmt.Sprintf("… and %d more", rest))
	}
	cut := lipgloss.NewStyle().MaxWidth(width)
	fitting := make([]string, len(lines))
	for i, l := range lines {
		fitting[i] = cut.Render(l)
	}
	if slices.Equal(fitting, b.drawn) {
		return
	}
	var s strings.Builder
	if n := len(b.drawn); n > 0 {
		fmt.Fprintf(&s, "\x1b[%dA", n) // up
	}
	for _, l := range fitting {
		s.WriteString("\r\x1b[2K" + l + "\n") // clear the line, write it
	}
	s.WriteString("\x1b[J") // clear what is below
	fmt.Fprint(b.out, s.String())
	b.drawn = fitting
}

// end leaves on the screen what was drawn; what is drawn next begins below.
func (b *board) end() { b.drawn = nil }

// screen returns the size of the terminal at out.
func screen(out any) (width, height int) {
	fd, ok := terminal(out)
	if ok {
		if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 3 {
			return w, h
		}
	}
	return defaultWidth, defaultHeight
}
