package iam

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
)

// FuzzReadProof holds every body that is taken to being one proof: exactly these
// keys, each once, each value of its shape, and the same when it is written again.
func FuzzReadProof(f *testing.F) {
	good := auth.Proof{
		AccessKeyID: "AKIAIOSFODNN7EXAMPLE", AMZDate: "20260203T040506Z", Signature: strings.Repeat("0a", 32),
		Nonce: strings.Repeat("Ab1_-", 12),
	}
	temporary := good
	temporary.AccessKeyID, temporary.SecurityToken = "ASIAIOSFODNN7EXAMPLE", "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVz="
	for _, p := range []auth.Proof{good, temporary, {}} {
		data, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
		f.Add(bytes.Replace(data, []byte("access_key_id"), []byte(`access\u005fkey_id`), 1))
		f.Add(bytes.Replace(data, []byte("nonce"), []byte("Nonce"), 1))
		f.Add(bytes.Replace(data, []byte("{"), []byte(`{"nonce":"x",`), 1))
		f.Add(bytes.Replace(data, []byte("{"), []byte(`{"nonce":[[`), 1))
	}
	f.Add([]byte("\ufeff{}"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ReadProof(body)
		if err != nil {
			if r := Reason(err); r != ReasonEnvelope && r != ReasonField {
				t.Fatalf("ReadProof(%q) = %s, want %s or %s", body, r, ReasonEnvelope, ReasonField)
			}
			return
		}
		if !keyIDShape.MatchString(p.AccessKeyID) || !dateShape.MatchString(p.AMZDate) || !signatureShape.MatchString(p.Signature) ||
			!nonceShape.MatchString(p.Nonce) || strings.HasPrefix(p.AccessKeyID, "ASIA") != (p.SecurityToken != "") {
			t.Fatalf("ReadProof(%q) = %+v, whose values do not fit", body, p)
		}
		var plain map[string]string
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("ReadProof(%q) took what encoding/json does not: %v", body, err)
		}
		want := map[string]string{"access_key_id": p.AccessKeyID, "amz_date": p.AMZDate, "signature": p.Signature, "nonce": p.Nonce}
		if p.SecurityToken != "" {
			want["security_token"] = p.SecurityToken
		}
		for k, v := range plain {
			if want[k] != v {
				t.Fatalf("ReadProof(%q) took the key %q", body, k)
			}
		}
		if len(plain) != len(want) {
			t.Fatalf("ReadProof(%q) took %d keys, want %d", body, len(plain), len(want))
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := ReadProof(again); err != nil || q != p {
			t.Fatalf("ReadProof of what it read = %+v, %v, want %+v", q, err, p)
		}
	})
}

// FuzzReadIdentity holds every answer that is taken to being what it says, once.
func FuzzReadIdentity(f *testing.F) {
	f.Add([]byte(testAnswer))
	f.Add([]byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + testAnswer))
	f.Add([]byte("x" + testAnswer + "x"))
	f.Add([]byte(testAnswer + testAnswer))
	f.Add([]byte(strings.Replace(testAnswer, "<Arn>", "<Arn></Arn><Arn>", 1)))
	f.Add([]byte(strings.Replace(testAnswer, "<Arn>", "<Arn><![CDATA[x]]>", 1)))
	f.Add([]byte(strings.Replace(testAnswer, "alice", "al&#105;ce", 1)))
	f.Add([]byte(strings.Replace(testAnswer, "alice", "al<!-- -->ice", 1)))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]>` + testAnswer))
	f.Add([]byte(strings.ReplaceAll(strings.Replace(testAnswer, "xmlns=", "xmlns:s=", 1), "<Get", "<s:Get")))
	f.Add([]byte(`<ErrorResponse xmlns="` + stsNamespace + `"><Error><Code>Throttling</Code></Error></ErrorResponse>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code := readErrorCode(body)
		who, err := readIdentity(body)
		if err != nil {
			if r := Reason(err); r != ReasonAnswer && r != ReasonIdentity {
				t.Fatalf("readIdentity(%q) = %s", body, r)
			}
			return
		}
		if code != "" {
			t.Fatalf("%q is an identity and a refusal, %s", body, code)
		}
		// A reader with other habits has to find the same three values, once.
		var all struct {
			XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
			Result  []struct {
				Arn, UserID, Account []string
				UserId               []string //nolint:revive,staticcheck // the name in the answer
			} `xml:"GetCallerIdentityResult"`
		}
		if err := xml.Unmarshal(body, &all); err != nil {
			t.Fatalf("readIdentity(%q) took what encoding/xml does not: %v", body, err)
		}
		if len(all.Result) != 1 || len(all.Result[0].Arn) != 1 || len(all.Result[0].UserId) != 1 || len(all.Result[0].Account) != 1 {
			t.Fatalf("readIdentity(%q) took %+v", body, all)
		}
		r := all.Result[0]
		again, err := auth.ParseIdentity(r.Arn[0], r.UserId[0], r.Account[0])
		if err != nil || again != who {
			t.Fatalf("readIdentity(%q) = %+v, of these values it is %+v, %v", body, who, again, err)
		}
	})
}

// FuzzSessionToken holds every token that is taken to being one that was given out,
// byte for byte.
func FuzzSessionToken(f *testing.F) {
	now := func() time.Time { return testStart }
	shared := openStore(f)
	v := newTestIAM(f, shared, now, &counting{})
	who := auth.Principal{Partition: "aws", Account: testAccount, Type: auth.User, ARN: testARN, UniqueID: "AIDACKCEVSQ6C2EXAMPLE"}
	s, err := v.mint(v.keys.current(), who)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(s.Token, ".")
	for _, text := range []string{
		s.Token, s.Token + ".", s.Token[:len(s.Token)-1], s.Token + "\n", strings.Join(append(parts, parts[3]), "."), "cx2" + s.Token[3:],
		"cx1.2." + parts[2] + "." + parts[3], "cx1.01." + parts[2] + "." + parts[3], v.Challenge().Nonce, "eyJhbGciOiJub25lIn0.e30.", "", "...",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		caller, err := v.Verify(context.Background(), text)
		if err != nil {
			if caller != (auth.Caller{}) || Reason(err) != ReasonToken {
				t.Fatalf("Verify(%q) = %+v, %s", text, caller, Reason(err))
			}
			return
		}
		if text != s.Token || caller.Principal != who {
			t.Fatalf("Verify(%q) = %+v, which nobody was given", text, caller)
		}
	})
}

// FuzzOutbound holds exchanges to asking STS only when every value fits.
func FuzzOutbound(f *testing.F) {
	now := func() time.Time { return testStart }
	out := new(counting)
	v := newTestIAM(f, openStore(f), now, out)
	date := testStart.Format(auth.DateLayout)
	signature := strings.Repeat("0a", 32)
	f.Add("AKIAIOSFODNN7EXAMPLE", date, "", signature, "", true)
	f.Add("ASIAIOSFODNN7EXAMPLE", date, "IQoJb3JpZ2luX2VjEXAMPLE", signature, "", true)
	f.Add("AKIAIOSFODNN7EXAMPLE", date, "IQoJb3JpZ2luX2VjEXAMPLE", signature, "", true)
	f.Add("AKIAIOSFODNN7EXAMPLE", "20260203T240000Z", "", signature, "", true)
	f.Add("AKIAIOSFODNN7EXAMPLE\n", date, "", signature, "", true)
	f.Add("AKIAIOSFODNN7EXAMPLE", date, "", signature, "=", true)
	f.Add("AKIAIOSFODNN7EXAMPLE", date, "", signature, strings.Repeat("A", 60), false)
	f.Fuzz(func(t *testing.T, key, date, token, signature, nonce string, ours bool) {
		if ours { // what is left of it is put behind a good one
			nonce = v.Challenge().Nonce + nonce
		}
		p := auth.Proof{AccessKeyID: key, AMZDate: date, SecurityToken: token, Signature: signature, Nonce: nonce}
		body, err := json.Marshal(p)
		if err != nil {
			t.Skip()
		}
		calls := out.calls.Load()
		_, err = v.Exchange(context.Background(), netip.MustParseAddr("192.0.2.1"), body)
		called := out.calls.Load() - calls
		read, wrong := ReadProof(body)
		fine := wrong == nil && read == p && ours && len(nonce) == nonceLength && dateFits(date, testStart)
		if fine != (called == 1) || called > 1 || (err == nil) != fine {
			t.Fatalf("Exchange(%s) = %s after %d calls, the values fit: %v", body, Reason(err), called, fine)
		}
	})
}
