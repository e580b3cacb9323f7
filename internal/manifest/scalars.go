package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/workload"
)

// Each reader below returns ok = false after it recorded what is wrong.

func (s *scope) wrongType(v value, want, hint string) {
	s.wrongAt(v, workload.CodePrimitiveType, "must be "+want, shown(v.node), "", hint)
}

// text reads a string. A date is one too: YAML's older types are not ours.
func (s *scope) text(v value) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" && n.Tag != "!!merge" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" && !strings.HasPrefix(n.Tag, "!!binary") && n.Tag[:min(2, len(n.Tag))] == "!!" {
			hint = fmt.Sprintf("put it in quotes: %s", quote(n.Value))
		}
		s.wrongType(v, "a string", hint)
		return "", false
	}
	return n.Value, true
}

// filled reads a string that says something.
func (s *scope) filled(v value) (string, bool) { return s.filledOr(v, "", "give it a value") }

// filledOr is filled with what is told of an empty string.
func (s *scope) filledOr(v value, allowed, hint string) (string, bool) {
	text, ok := s.text(v)
	if ok && text == "" {
		s.wrongAt(v, workload.CodeCannotBeEmpty, "must not be empty", `""`, allowed, hint)
		return "", false
	}
	return text, ok
}

// whole reads a whole number that fits the given number of bits. 8080.0 is one.
func (s *scope) whole(v value, bits int) (int64, bool) {
	n := v.node
	const want = "a whole number"
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		s.wrongType(v, want, unquoteHint(n))
		return 0, false
	}
	digits := strings.TrimLeft(n.Value, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' || strings.Contains(digits, "_") {
		s.wrongAt(v, workload.CodePrimitiveType, "is a number that YAML 1.1 and 1.2 read differently", n.Value, "",
			"write it without leading zeros and underscores")
		return 0, false
	}
	if n.Tag == "!!float" {
		f, err := strconv.ParseFloat(n.Value, 64)
		if f != math.Trunc(f) || math.IsInf(f, 0) && err == nil {
			s.wrongType(v, want, "")
			return 0, false
		}
		if math.Abs(f) >= 1<<53 {
			err = strconv.ErrRange // beyond it a float is no longer every whole number
		}
		return s.fits(v, int64(f), err, bits)
	}
	i, err := strconv.ParseInt(n.Value, 0, 64)
	return s.fits(v, i, err, bits)
}

func (s *scope) fits(v value, i int64, err error, bits int) (int64, bool) {
	limit := int64(math.MaxInt64)
	if bits == 32 {
		limit = math.MaxInt32
	}
	if err == nil && i <= limit && i >= -limit {
		return i, true
	}
	code, message := workload.CodeLessOrEqual, fmt.Sprintf("must be at most %d", limit)
	if strings.HasPrefix(v.node.Value, "-") {
		code, message = workload.CodeGreaterOrEqual, fmt.Sprintf("must be at least %d", -limit)
	}
	s.wrongAt(v, code, message, shown(v.node), "", "")
	return 0, false
}

func (s *scope) int32(v value) (int32, bool) {
	i, ok := s.whole(v, 32)
	return int32(i), ok
}

// real reads a number.
func (s *scope) real(v value) (float64, bool) {
	n := v.node
	if n.Kind == yaml.ScalarNode && n.Tag == "!!float" {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, true
		}
		s.wrongType(v, "a finite number", "")
		return 0, false
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		i, ok := s.whole(v, 64)
		return float64(i), ok
	}
	s.wrongType(v, "a number", unquoteHint(n))
	return 0, false
}

// unquoteHint says how to write a number or boolean that stands in quotes.
func unquoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && len(n.Value) < 20 {
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
			return "remove the quotes: " + n.Value
		}
	}
	return ""
}

// truth reads true or false.
func (s *scope) truth(v value) (bool, bool) {
	n := v.node
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	hint := ""
	switch strings.ToLower(n.Value) {
	case "yes", "y", "on", "true":
		hint = "write true"
	case "no", "n", "off", "false":
		hint = "write false"
	}
	s.wrongType(v, "true or false", hint)
	return false, false
}

// quantity reads an amount, in quotes or not.
func (s *scope) quantity(v value) *workload.Quantity {
	n := v.node
	isNumber := n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float")
	text := n.Value
	if !isNumber {
		var ok bool
		if text, ok = s.filled(v); !ok {
			return nil
		}
	}
	q, err := workload.ParseQuantity(text)
	if err != nil {
		s.wrongAt(v, workload.CodeQuantity, "is not a quantity", shown(n), "such as 200m, 1.5, 256Mi or 2G", quantityHint(text))
		return nil
	}
	return &q
}

// quantityHint knows the units people write.
func quantityHint(text string) string {
	trimmed := strings.TrimSpace(text)
	number := strings.TrimRight(trimmed, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(strings.TrimPrefix(trimmed, number))
	better := map[string]string{
		"kb": "k", "mb": "M", "gb": "G", "tb": "T", "kib": "Ki", "mib": "Mi", "gib": "Gi", "tib": "Ti",
		"ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti", "g": "G", "t": "T", "b": "", "k": "k",
	}
	if u, ok := better[strings.ToLower(unit)]; ok && number != "" {
		if _, err := workload.ParseQuantity(number + u); err == nil {
			return fmt.Sprintf("did you mean %s?", number+u)
		}
	}
	return ""
}

// duration reads a text such as 60s.
func (s *scope) duration(v value) (workload.Duration, bool) {
	const allowed = "such as 60s, 5m or 1h30m"
	if n := v.node; n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") && len(n.Value) < 20 {
		s.wrongAt(v, workload.CodePrimitiveType, "must be a duration", shown(n), allowed, fmt.Sprintf("write the unit: %ss", n.Value))
		return 0, false
	}
	text, ok := s.text(v)
	if !ok {
		return 0, false
	}
	var d workload.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		s.wrongAt(v, workload.CodeInvalidString, "is not a duration", quote(text), allowed, "")
		return 0, false
	}
	return d, true
}

// share reads "25%" or a number of replicas. Whether it is one, the rules say.
func (s *scope) share(v value) (string, bool) {
	if n := v.node; n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		i, ok := s.whole(v, 64)
		return strconv.FormatInt(i, 10), ok
	}
	return s.text(v)
}

// list returns the elements of a list.
func (s *scope) list(v value) ([]value, bool) {
	if v.node.Kind != yaml.SequenceNode {
		hint := ""
		if v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!str" && len(v.node.Value) < 60 {
			hint = fmt.Sprintf("write [%s]", strings.Join(quoted(strings.Fields(v.node.Value)), ", "))
		}
		s.wrongType(v, "a list", hint)
		return nil, false
	}
	elements := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		elements[i] = value{path: index(v.path, i), node: resolve(n)}
		if !s.d.look(elements[i].node) {
			return nil, false
		}
	}
	return elements, true
}

func quoted(words []string) []string {
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	return words
}

// words reads a list of strings; never nil when it is one.
func (s *scope) words(v value) []string {
	elements, ok := s.list(v)
	if !ok {
		return nil
	}
	words := make([]string, len(elements))
	for i, e := range elements {
		if isNull(e.node) {
			s.wrongAt(e, workload.CodeCannotBeNull, "must not be null", "", "", `write "" for an empty string, or remove it`)
			continue
		}
		words[i], _ = s.text(e)
	}
	return words
}

// texts reads a map of strings.
func (s *scope) texts(v value) (map[string]string, bool) {
	return mapOf(s, v, s.text, `write "" for an empty value, or remove the key`)
}

// variables reads a map of variables.
func (s *scope) variables(v value) (map[string]workload.Variable, bool) {
	return mapOf(s, v, s.variable, `write "" for an empty value, or remove the key`)
}

// variable reads a string, or a map that names a secret.
func (s *scope) variable(v value) (x workload.Variable, ok bool) {
	if v.node.Kind != yaml.MappingNode {
		x.Value, ok = s.text(v)
		return x, ok
	}
	ok = decodeSection(s, &variableSection, v, &x)
	return x, ok
}

// counts reads a map of whole numbers.
func (s *scope) counts(v value) (map[string]int64, bool) {
	return mapOf(s, v, s.int64, "give it a number, or remove the key")
}

// mapOf reads a map whose values are read by read; ofNull says what to do about null.
func mapOf[V any](s *scope, v value, read func(value) (V, bool), ofNull string) (map[string]V, bool) {
	if v.node.Kind != yaml.MappingNode {
		hint := ""
		if v.node.Kind == yaml.SequenceNode {
			hint = "write NAME: value, without dashes"
		}
		s.wrongType(v, "a map", hint)
		return nil, false
	}
	pairs := s.pairs(v.path, v.node)
	all := make(map[string]V, len(pairs))
	for _, p := range pairs {
		e := value{join(v.path, p.key.Value), p.key, p.value}
		if isNull(e.node) {
			s.wrongAt(e, workload.CodeCannotBeNull, "must not be null", "", "", ofNull)
			continue
		}
		if x, ok := read(e); ok {
			all[p.key.Value] = x
		}
	}
	return all, true
}
