package guard_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

// TestFields has each value alone be wrong: none of them gets as far as STS.
func TestFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := malformed(iam.ReasonField)
	key := func(to string) func(*auth.Proof) { return func(p *auth.Proof) { p.AccessKeyID = to } }
	signature := func(change func(string) string) func(*auth.Proof) {
		return func(p *auth.Proof) { p.Signature = change(p.Signature) }
	}
	token := func(to string) func(*auth.Proof) { return func(p *auth.Proof) { p.SecurityToken = to } }
	id := w.ids["alice"].AccessKeyID
	ref := refused(iam.ReasonSTS, 1)
	w.run(t, []attack{
		{name: "key id in lower case", proof: key(strings.ToLower(id)), want: no},
		{name: "key id with one letter in lower case", proof: key(id[:19] + "x"), want: no},
		{name: "key id with CR LF", proof: key(id + "\r\n"), want: no},
		{name: "key id with a header behind", proof: key(id + "\r\nX-Evil: 1"), want: no},
		{name: "key id with a line break behind", proof: key(id + "\n"), want: no},
		{name: "key id with a scope", proof: key(id + "/20260203"), want: no},
		{name: "key id with a comma", proof: key(id + ", SignedHeaders=host"), want: no},
		{name: "key id of 15 characters", proof: key(id[:15]), want: no},
		{name: "key id of 129 characters", proof: key("AKIA" + strings.Repeat("A", 125)), want: no},
		{name: "key id of a role", proof: key("AROA" + id[4:]), want: no},
		{name: "key id with another beginning", proof: key("XKIA" + id[4:]), want: no},
		{name: "key id in letters that look so", proof: key("AKIA\u0391" + id[5:]), want: no},
		{name: "key id with space before", proof: key(" " + id), want: no},
		{name: "key id empty", proof: key(""), want: no},
		{name: "key id of 128 characters, which nobody has", proof: key("AKIA" + strings.Repeat("A", 124)), want: ref},

		{name: "signature of 63 digits", proof: signature(func(s string) string { return s[:63] }), want: no},
		{name: "signature of 65 digits", proof: signature(func(s string) string { return s + "0" }), want: no},
		{name: "signature in upper case", proof: signature(func(string) string { return strings.Repeat("AB", 32) }), want: no},
		{name: "signature with a line break", proof: signature(func(s string) string { return s + "\n" }), want: no},
		{name: "signature with a parameter", proof: signature(func(s string) string { return s[:62] + ", " }), want: no},
		{name: "signature in base64", proof: signature(func(s string) string { return strings.Repeat("+/ab", 16) }), want: no},
		{name: "signature empty", proof: signature(func(string) string { return "" }), want: no},
		{name: "signature all zero", proof: signature(func(string) string { return strings.Repeat("0", 64) }), want: ref},
		{name: "signature with one bit changed", proof: signature(func(s string) string { return flipHex(s) }), want: ref},

		{name: "a token where none belongs", proof: token("IQoJb3JpZ2luX2VjEXAMPLE"), want: no},
		{name: "an empty token where none belongs", body: edit("{", `{"security_token":"",`), want: no},
		{name: "no token where one does", who: "role", proof: token(""), want: no},
		{name: "an empty token where one does", who: "role", proof: token(""), body: edit("{", `{"security_token":"",`), want: no},
		{name: "a token of 10 KiB", who: "role", proof: token(strings.Repeat("A", 10<<10)), want: no},
		{name: "a token of 15 characters", who: "role", proof: token(strings.Repeat("A", 15)), want: no},
		{name: "a token with CR LF", who: "role", proof: token("IQoJb3JpZ2luX2Vj\r\nHost: evil.example.com"), want: no},
		{name: "a token with a line break behind", who: "role", proof: func(p *auth.Proof) { p.SecurityToken += "\n" }, want: no},
		{name: "a token with space", who: "role", proof: token("IQoJb3JpZ2luX2Vj IQoJb3JpZ2luX2Vj"), want: no},
		{name: "a token with a tab", who: "role", proof: token("IQoJb3JpZ2luX2Vj\tIQoJb3JpZ2luX2Vj"), want: no},
		{name: "a token that is no ASCII", who: "role", proof: token("IQoJb3JpZ2luX2Vj\u00e9"), want: no},
		{name: "the token of somebody else", who: "role", proof: token(w.ids["sso"].SessionToken), want: ref},
		{name: "a token cut short", who: "role", proof: func(p *auth.Proof) { p.SecurityToken = p.SecurityToken[:30] }, want: ref},
		{name: "a temporary key and its token", who: "role", want: granted(adminARN)},
		{name: "the key of somebody else", proof: key(w.ids["pathed"].AccessKeyID), want: ref},
	})
}

func flipHex(s string) string {
	if s[0] == '0' {
		return "1" + s[1:]
	}
	return "0" + s[1:]
}

// TestDates has dates that are none, and those that are and do not fit.
func TestDates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	date := func(to string) func(*auth.Proof) { return func(p *auth.Proof) { p.AMZDate = to } }
	var family []attack
	for _, text := range []string{
		"20260203T040506.1Z", "20260203T040506.000Z", "20260203T040506z", "20260203t040506Z", "20260203T040506", "20260203T040506+0000",
		"2026-02-03T04:05:06Z", "20260203 040506Z", "20260203T0405Z", "020260203T040506Z", "+0260203T040506Z", "-0260203T040506Z",
		"20260203T040506Z\n", " 20260203T040506Z", "٢٠٢٦0203T040506Z", "", "1770091506", "20260203T04050６Z",
	} {
		family = append(family, attack{name: fmt.Sprintf("%q", text), proof: date(text), want: malformed(iam.ReasonField)})
	}
	for _, text := range []string{
		"20260203T240000Z", "20260230T040506Z", "20260229T040506Z", "20260203T046006Z", "20260203T040560Z", "20260203T040561Z", "20261303T040506Z",
		"20260003T040506Z", "20260200T040506Z", "99991231T235959Z", "00000101T000000Z", "00000000T000000Z", "20250203T040506Z", "20270203T040506Z",
	} {
		family = append(family, attack{name: text, proof: date(text), want: refused(iam.ReasonDate, 0)})
	}
	w.run(t, family)
	// Whoever says another date than was signed is refused by the signature, however near it is.
	w.attack(t, attack{name: "a second later", proof: func(p *auth.Proof) {
		p.AMZDate = w.clock.Now().Add(time.Second).Format(auth.DateLayout)
	}, want: refused(iam.ReasonSTS, 1)})
}
