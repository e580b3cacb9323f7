// Package suggest finds the word that was probably meant when one is unknown.
//
// It promises an answer in a time that whoever chose the word cannot make long, and none
// where a guess would be wild. It must not know what the words are.
package suggest

import (
	"fmt"
	"strings"
)

// maxLength is how long a word may be for which there is a suggestion: the distance
// costs the product of two lengths.
const maxLength = 64

// Nearest returns the one of known that word most likely should have been, or "". It is
// the same but for case and separators, or differs from it in at most a third of its
// letters; in a short one, in one letter.
func Nearest(word string, known []string) string {
	if len(word) > maxLength {
		return ""
	}
	best, least := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if spelling(k) == spelling(word) {
			return k
		}
		// Otherwise a word of one letter would be near to any other.
		if d := Distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// Hint is the question whether Nearest was meant, or "".
func Hint(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// spelling is what stays of a word written in another convention: maxReplicas,
// max-replicas and MAX_REPLICAS are one.
func spelling(word string) string { return separators.Replace(strings.ToLower(word)) }

var separators = strings.NewReplacer("_", "", "-", "", " ", "", ".", "")

// Distance counts the letters to insert, remove, replace or swap with their neighbour
// to turn a into b, whatever their case.
func Distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
