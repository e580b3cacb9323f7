package iam

import (
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
)

// A session for calls proves what it says, until every key is replaced; it manages nothing,
// and a session that manages calls nothing.
func TestCallSessions(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return testStart }
	v := newTestIAM(t, openStore(t), now, &counting{})
	who := auth.Principal{ARN: "arn:aws:iam::123456789012:role/shop", Account: "123456789012", Session: "alice"}
	s, err := v.MintCall(who, []string{"iris", "lily"}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is remembered
		got, ok := v.VerifyCall([]byte(s.Token))
		if !ok || got.Principal != who || len(got.APIs) != 2 || !got.ExpiresAt.Equal(s.ExpiresAt) {
			t.Errorf("VerifyCall() = %+v, %v; want %+v", got, ok, s)
		}
	}
	managing, err := v.mint(v.keys.current(), who)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newTestIAM(t, openStore(t), now, &counting{}).MintCall(who, []string{"iris"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(s.Token, ".")
	for name, token := range map[string]string{
		"nothing":                    "",
		"a session that manages":     managing.Token,
		"… by the name of the other": "cxs1" + strings.TrimPrefix(managing.Token, "cx1"),
		"another epoch":              strings.Replace(s.Token, ".1.", ".2.", 1),
		"an epoch with a zero":       strings.Replace(s.Token, ".1.", ".01.", 1),
		"no MAC":                     parts[0] + "." + parts[1] + "." + parts[2] + ".",
		"half a MAC":                 s.Token[:len(s.Token)-4],
		"other claims":               parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-2] + "AA." + parts[3],
		"five parts":                 s.Token + ".x",
		"5 KiB":                      s.Token + strings.Repeat("A", 5<<10),
		"a line break in the MAC":    s.Token[:len(s.Token)-3] + "\n" + s.Token[len(s.Token)-3:],
		"of another cluster":         foreign.Token,
	} {
		if got, ok := v.VerifyCall([]byte(token)); ok {
			t.Errorf("%s: VerifyCall() = %+v, want none", name, got)
		}
	}
	if _, err := v.Verify(t.Context(), s.Token); err == nil {
		t.Error("a session for calls manages")
	}
	if _, err := v.Verify(t.Context(), "cx1"+strings.TrimPrefix(s.Token, "cxs1")); err == nil {
		t.Error("a session for calls manages, by the name of the other")
	}
	if err := v.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := v.VerifyCall([]byte(s.Token)); ok {
		t.Errorf("after all sessions were ended: VerifyCall() = %+v", got)
	}
}
