// Package row is one line of the table that `make bench` prints, so that every
// part of the product can measure itself and the table stays one.
//
// It promises plain text in every column, and has the few words for numbers that
// rows share. It must not measure anything.
package row

// Row is one measured number with its competitor and its target.
type Row struct {
	What   string // what was measured, in a few words
	Ours   string // our number with its unit
	Theirs string // the competitor's number with its unit and name; empty without one
	Ratio  string // ours to theirs, or ours to the target where there is no competitor
	Target string // what it has to be
	Met    bool   // whether it is
	Absent bool   // a competitor is not there, and what could be compared was not missed
	Note   string // what a reader has to know: an absent competitor, a condition
}
