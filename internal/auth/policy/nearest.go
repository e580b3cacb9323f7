package policy

import (
	"fmt"
	"strings"
)

// didYouMean is the hint that names the one of words that is nearest, or "".
func didYouMean(text string, words ...string) string {
	if near := nearest(text, words...); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// nearest returns the one of words that text most likely should have been, or "":
// it may differ in a third of its letters, and in two at most.
func nearest(text string, words ...string) string {
	if len(text) > 64 {
		return ""
	}
	best, least := "", 3
	for _, w := range words {
		if strings.EqualFold(text, w) {
			return w
		}
		if d := distance(strings.ToLower(text), strings.ToLower(w)); d < least && 3*d <= len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters have to be typed, deleted, replaced or swapped with
// the next.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
