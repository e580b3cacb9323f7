package capacity

import (
	"fmt"
	"strconv"
	"strings"
)

// resource is a column of the tables.
type resource struct {
	name   string // as in a file
	of     func(Amount) int64
	asked  func(int64) string // rounded up
	had    func(int64) string // rounded down, so that what is too little also looks it
	always bool               // the column is there though nobody has any of it
}

var resources = [...]resource{
	{"cpu", func(a Amount) int64 { return a.CPU }, cores, cores, true},
	{"mem", func(a Amount) int64 { return a.Mem }, bytesUp, bytesDown, true},
	{"gpu", func(a Amount) int64 { return a.GPU }, whole, whole, false},
	{"inf", func(a Amount) int64 { return a.Inf }, whole, whole, false},
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

// cores is exact: 200m, 4 or 4.1.
func cores(milli int64) string {
	if milli > 0 && milli < 1000 {
		return whole(milli) + "m"
	}
	text := fmt.Sprintf("%d.%03d", milli/1000, milli%1000)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

func bytesUp(n int64) string   { return bytes(n, true) }
func bytesDown(n int64) string { return bytes(n, false) }

// bytes is in whole Mi, or in hundredths of a Gi.
func bytes(n int64, up bool) string {
	if n < gibi {
		return whole(rounded(n, mebi, up)) + "Mi"
	}
	hundredths := rounded(n%gibi*100, gibi, up) + n/gibi*100
	text := fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + "Gi"
}

func rounded(n, unit int64, up bool) int64 {
	q := n / unit
	if up && n%unit > 0 {
		q++
	}
	return q
}

// Words are what a replica asks for, as the object of a sentence: 4.1 cpu, 16.1Gi mem
// and 1 gpu. What it does not ask for is left out.
func (a Amount) Words() string {
	var words []string
	for _, res := range resources {
		if n := res.of(a); n > 0 {
			words = append(words, res.asked(n)+" "+res.name)
		}
	}
	return and(words)
}

func and(words []string) string {
	switch len(words) {
	case 0:
		return "nothing"
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// maxRows bounds how many sizes are printed.
const maxRows = 20

// String is the two tables, and what is short; without a line break at its end.
func (r *Refusal) String() string {
	total := Total(r.Requests)
	columns := r.columns(total)
	var b strings.Builder
	b.WriteString("no node could ever hold a replica\n\n")

	requested := newTable("requested", columns)
	for _, q := range r.Requests {
		requested.amount(q.Name, q.Amount, resource.askedOf)
	}
	if len(r.Requests) > 1 {
		requested.amount("together", total, resource.askedOf)
	}
	requested.write(&b)
	b.WriteByte('\n')

	available := newTable("available", columns)
	var more int
	for _, g := range r.Groups {
		more += available.group(g)
	}
	available.write(&b)
	if more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	b.WriteByte('\n')
	if short := r.Short(); len(short) > 0 {
		fmt.Fprintf(&b, "none of them has enough %s", and(short))
	} else {
		b.WriteString("none of them has enough of everything at once")
	}
	return b.String()
}

func (r resource) askedOf(a Amount) string {
	if r.of(a) == 0 {
		return "-"
	}
	return r.asked(r.of(a))
}

func (r resource) hadOf(a Amount) string { return r.had(r.of(a)) }

// columns are the resources that somebody asks for or has.
func (r *Refusal) columns(total Amount) []resource {
	var columns []resource
	for _, res := range resources {
		shown := res.always || res.of(total) > 0
		for _, g := range r.Groups {
			for _, size := range g.Sizes {
				shown = shown || g.Closed == "" && res.of(size) > 0
			}
		}
		if shown {
			columns = append(columns, res)
		}
	}
	return columns
}

// table has names to the left and numbers to the right.
type table struct {
	columns []resource
	rows    []row
}

type row struct {
	name  string
	cells []string
	note  string // instead of cells
}

func newTable(title string, columns []resource) *table {
	head := row{name: title}
	for _, res := range columns {
		head.cells = append(head.cells, res.name)
	}
	return &table{columns: columns, rows: []row{head}}
}

func (t *table) amount(name string, a Amount, text func(resource, Amount) string) {
	r := row{name: name}
	for _, res := range t.columns {
		r.cells = append(r.cells, text(res, a))
	}
	t.rows = append(t.rows, r)
}

// group adds the sizes of a group, and returns how many there was no place for.
func (t *table) group(g Group) (more int) {
	name := "a node of no group"
	if g.Name != "" {
		name = "a node of " + g.Name
	}
	if g.Closed != "" {
		if len(t.rows) > maxRows {
			return 1
		}
		t.rows = append(t.rows, row{name: name, note: g.Closed})
		return 0
	}
	for _, size := range g.Sizes {
		if len(t.rows) > maxRows {
			more++
			continue
		}
		t.amount(name, size, resource.hadOf)
	}
	return more
}

func (t *table) write(b *strings.Builder) {
	width := make([]int, len(t.columns)+1)
	for _, r := range t.rows {
		width[0] = max(width[0], len(r.name))
		for i, cell := range r.cells {
			width[i+1] = max(width[i+1], len(cell))
		}
	}
	for _, r := range t.rows {
		fmt.Fprintf(b, "  %-*s", width[0], r.name)
		for i, cell := range r.cells {
			fmt.Fprintf(b, "  %*s", width[i+1], cell)
		}
		if r.note != "" {
			b.WriteString("  " + r.note)
		}
		b.WriteByte('\n')
	}
}
