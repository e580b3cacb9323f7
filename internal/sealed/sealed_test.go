package sealed

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	secrets := map[uint32]*Secret{1: {1}, 2: {2}}
	find := func(epoch uint32) (*Secret, bool) { s, ok := secrets[epoch]; return s, ok }
	token, err := Make("v1", 2, secrets[2], map[string]int{"n": 7})
	if err != nil {
		t.Fatal(err)
	}
	var says map[string]int
	if !Read("v1", token, find, &says) || says["n"] != 7 {
		t.Fatalf("Read() of what Make() made = %v", says)
	}
	parts := strings.Split(token, ".")
	other, err := Make("v1", 2, secrets[1], map[string]int{"n": 7})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing":                 "",
		"another version":         "v2" + strings.TrimPrefix(token, "v1"),
		"another epoch's secret":  strings.Replace(token, ".2.", ".1.", 1),
		"an epoch that is gone":   strings.Replace(token, ".2.", ".3.", 1),
		"an epoch with a zero":    strings.Replace(token, ".2.", ".02.", 1),
		"an epoch below 0":        strings.Replace(token, ".2.", ".-2.", 1),
		"made with another":       other,
		"no MAC":                  strings.Join(parts[:3], ".") + ".",
		"three parts":             strings.Join(parts[:3], "."),
		"five parts":              token + ".x",
		"half a MAC":              token[:len(token)-4],
		"a line break in the MAC": token[:len(token)-3] + "\n" + token[len(token)-3:],
		"other claims":            parts[0] + "." + parts[1] + ".eyJuIjo4fQ." + parts[3],
		"too long":                token + strings.Repeat("A", maxBytes),
	} {
		says = nil
		if Read("v1", bad, find, &says) || says != nil {
			t.Errorf("%s: Read() takes %q, and reads %v", name, bad, says)
		}
	}
}
