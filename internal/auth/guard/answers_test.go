package guard_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"cortex.dev/cortex/internal/auth/iam"
)

// TestAnswerForm is about what counts as an answer of STS. Everything else is no
// answer, asked for once: not a refusal, and never an identity.
func TestAnswerForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ids["alice"]
	evil := w.ids["mallory"]
	good := answerOf(id)
	no := away(iam.ReasonAnswer, 1)
	xml := func(body string) func(http.ResponseWriter, *http.Request) { return says(200, "text/xml", body) }
	status := func(code int) func(http.ResponseWriter, *http.Request) { return says(code, "text/xml", good) }
	typed := func(contentType string) func(http.ResponseWriter, *http.Request) { return says(200, contentType, good) }
	replaced := func(from, to string) func(http.ResponseWriter, *http.Request) {
		return xml(strings.ReplaceAll(good, from, to))
	}
	const declaration = `<?xml version="1.0" encoding="UTF-8"?>`
	w.run(t, []attack{
		{name: "a good one", answer: xml(good), want: granted(aliceARN)},
		{name: "with a declaration", answer: xml(declaration + "\n" + good), want: granted(aliceARN)},
		{name: "with a charset", answer: typed("text/xml; charset=utf-8"), want: granted(aliceARN)},
		{name: "without metadata", answer: xml("<GetCallerIdentityResponse" + xmlns + "><GetCallerIdentityResult>" + fields(id) + "</GetCallerIdentityResult></GetCallerIdentityResponse>"), want: granted(aliceARN)},
		{name: "indented", answer: replaced("><", ">\n  <"), want: granted(aliceARN)},

		{name: "201", answer: status(201), want: no},
		{name: "202", answer: status(202), want: no},
		{name: "204", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, want: no},
		{name: "206", answer: status(206), want: no},
		{name: "304", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, want: no},
		{name: "401", answer: status(401), want: no},
		{name: "404", answer: status(404), want: no},
		{name: "400 with an identity", answer: status(400), want: no},
		{name: "403 with an identity", answer: status(403), want: no},

		{name: "no content type", answer: typed(""), want: no},
		{name: "JSON", answer: typed("application/json"), want: no},
		{name: "application/xml", answer: typed("application/xml"), want: no},
		{name: "HTML", answer: says(200, "text/html", "<html>"+stsSaid+good+"</html>"), want: no},
		{name: "a content type that is none", answer: typed("text/xml; charset"), want: no},
		{name: "two types in one", answer: typed("text/xml, text/html"), want: no},
		{name: "JSON around XML, as JSON", answer: says(200, "application/json", fmt.Sprintf("{%q:%q}", "GetCallerIdentityResponse", good)), want: no},
		{name: "JSON around XML, as XML", answer: xml(`{"x":"` + good + `"}`), want: no},
		{name: "HTML around XML, as XML", answer: xml("<html>" + good + "</html>"), want: no},
		{name: "empty", answer: xml(""), want: no},
		{name: "space", answer: xml("  \n"), want: no},
		{name: "a declaration only", answer: xml(declaration), want: no},

		{name: "junk before", answer: xml("x" + good), want: no},
		{name: "space before a declaration", answer: xml(" " + declaration + good), want: no},
		{name: "junk after", answer: xml(good + stsSaid), want: no},
		{name: "junk between", answer: replaced("</Arn>", "</Arn>"+stsSaid), want: no},
		{name: "a byte order mark", answer: xml("\ufeff" + good), want: no},
		{name: "a NUL behind", answer: xml(good + "\x00"), want: no},
		{name: "a comment before", answer: xml("<!-- -->" + good), want: no},
		{name: "a comment in the ARN", answer: replaced("user/alice", "user/<!-- -->alice"), want: no},
		{name: "a comment that cuts the ARN", answer: replaced("user/alice", "user/alice<!-- "+stsSaid+" -->"), want: no},
		{name: "an instruction", answer: replaced("<Arn>", "<?x y?><Arn>"), want: no},
		{name: "two declarations", answer: xml(declaration + declaration + good), want: no},
		{name: "a declaration in the middle", answer: replaced("<Arn>", declaration+"<Arn>"), want: no},
		{name: "CDATA", answer: replaced("<Arn>"+id.ARN, "<Arn><![CDATA["+id.ARN+"]]>"), want: no},
		{name: "CDATA before", answer: xml("<![CDATA[ ]]>" + good), want: no},

		{name: "two answers", answer: xml(good + good), want: no},
		{name: "two results", answer: replaced("<ResponseMetadata>", "<GetCallerIdentityResult>"+fields(evil)+"</GetCallerIdentityResult><ResponseMetadata>"), want: no},
		{name: "a result in a result", answer: replaced("<Arn>", "<GetCallerIdentityResult>"+fields(evil)+"</GetCallerIdentityResult><Arn>"), want: no},
		{name: "two Accounts, the same", answer: replaced("</Account>", "</Account><Account>"+id.Account+"</Account>"), want: no},
		{name: "two Accounts, ours last", answer: replaced("<Account>", "<Account>"+evil.Account+"</Account><Account>"), want: no},
		{name: "two Arns, ours last", answer: replaced("<Arn>", "<Arn>"+evil.ARN+"</Arn><Arn>"), want: no},
		{name: "two UserIds", answer: replaced("<UserId>", "<UserId/><UserId>"), want: no},
		{name: "no Arn", answer: xml(answerWith("<UserId>" + id.UserID + "</UserId><Account>" + id.Account + "</Account>")), want: no},
		{name: "no UserId", answer: xml(answerWith("<Arn>" + id.ARN + "</Arn><Account>" + id.Account + "</Account>")), want: no},
		{name: "no Account", answer: xml(answerWith("<Arn>" + id.ARN + "</Arn><UserId>" + id.UserID + "</UserId>")), want: no},
		{name: "an Arn beside the result", answer: replaced("<GetCallerIdentityResult>", "<Arn>"+evil.ARN+"</Arn><GetCallerIdentityResult>"), want: no},
		{name: "an element more", answer: replaced("<Arn>", "<Tags/><Arn>"), want: no},
		{name: "an element in the ARN", answer: replaced("user/alice", "user/<b>alice</b>"), want: no},
		{name: "names in another case", answer: replaced("Arn>", "ARN>"), want: no},
		{name: "the answer to another call", answer: replaced("GetCallerIdentity", "GetSessionToken"), want: no},
		{name: "another root", answer: replaced("GetCallerIdentityResponse", "Response"), want: no},

		{name: "no namespace", answer: replaced(xmlns, ""), want: no},
		{name: "another namespace", answer: replaced("2011-06-15", "2012-06-15"), want: no},
		{name: "the namespace over http", answer: replaced("https://sts", "http://sts"), want: no},
		{name: "the namespace twice", answer: replaced(xmlns, xmlns+xmlns), want: no},
		{name: "the namespace as a prefix", answer: xml(strings.NewReplacer("xmlns=", "xmlns:s=", "<Get", "<s:Get", "</Get", "</s:Get").Replace(good)), want: no},
		{name: "a prefix for one element", answer: replaced("Arn>", "x:Arn>"), want: no},
		{name: "a prefix at one end", answer: replaced("</Arn>", "</x:Arn>"), want: no},
		{name: "another namespace inside", answer: replaced("<Arn>", `<Arn xmlns="urn:x">`), want: no},
		{name: "an attribute", answer: replaced("<Account>", `<Account x="y">`), want: no},

		{name: "a DOCTYPE", answer: xml("<!DOCTYPE GetCallerIdentityResponse>" + good), want: no},
		{name: "an entity of its own", answer: xml(`<!DOCTYPE x [<!ENTITY a "` + id.ARN + `">]>` + strings.ReplaceAll(good, id.ARN, "&a;")), want: no},
		{name: "an entity from elsewhere", answer: xml(`<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + strings.ReplaceAll(good, id.ARN, "&a;")), want: no},
		{name: "an entity that nobody declared", answer: replaced("user/alice", "user/&alice;"), want: no},
		{name: "an entity of HTML", answer: replaced("user/alice", "user/&nbsp;alice"), want: no},
		{name: "a billion laughs", answer: xml(laughs(good, id.ARN)), want: no},
		{name: "a million levels", answer: xml(strings.Repeat("<GetCallerIdentityResponse"+xmlns+">", 1000000)), want: no},
		{name: "many levels in 64 KiB", answer: xml(strings.Repeat("<a>", 20000)), want: no},

		{name: "cut off in the middle", answer: xml(good[:len(good)/2]), want: no},
		{name: "cut off before the last end", answer: xml(strings.TrimSuffix(strings.TrimSpace(good), "</GetCallerIdentityResponse>")), want: no},
		{name: "ends in the wrong order", answer: replaced("</Arn><UserId>", "<UserId></Arn>"), want: no},
		{name: "an end too many", answer: xml(good + "</Arn>"), want: no},
		{name: "invalid UTF-8", answer: replaced("alice", "al\xffice"), want: no},
		{name: "another encoding declared", answer: xml(strings.Replace(declaration, "UTF-8", "UTF-7", 1) + good), want: no},
		{name: "64 KiB and one byte", answer: xml(good + strings.Repeat(" ", 64<<10+1-len(good))), want: no},
		{name: "64 KiB", answer: xml(good + strings.Repeat(" ", 64<<10-len(good))), want: granted(aliceARN)},
		{name: "gzip", answer: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/xml")
			rw.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			_, _ = io.WriteString(z, good)
			z.Close()
		}, want: no},
		{name: "an encoding that changes nothing", answer: func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Encoding", "identity")
			xml(good)(rw, r)
		}, want: no},
		{name: "gzip that says nothing", answer: xml(string(zipped([]byte(good)))), want: no},
	})
}

// laughs is an answer with entities of entities in it.
func laughs(good, arn string) string {
	var b strings.Builder
	b.WriteString(`<!DOCTYPE x [<!ENTITY l0 "lol">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "<!ENTITY l%d %q>", i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
	}
	return b.String() + "]>" + strings.ReplaceAll(good, arn, "&l9;")
}

// TestHugeAnswer has STS send 100 MiB: they are not read.
func TestHugeAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var sent atomic.Int64
	w.attack(t, attack{name: "100 MiB", answer: func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/xml")
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range 100 << 20 / len(chunk) {
			n, err := rw.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}, want: away(iam.ReasonAnswer, 1)})
	if got := sent.Load(); got > 16<<20 {
		t.Errorf("STS could send %d bytes, want few", got)
	}
}

// TestRedirect has STS send the operator elsewhere: nobody is ever asked there.
func TestRedirect(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	w := newWorld(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		as(w.ids["alice"])(rw, r)
	}))
	t.Cleanup(elsewhere.Close)
	var family []attack
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		for _, to := range []string{elsewhere.URL + "/", "//" + strings.TrimPrefix(elsewhere.URL, "http://"), "/", "", "http://" + stsSaid + ":x/%zz"} {
			family = append(family, attack{name: fmt.Sprintf("%d to %q", status, to), answer: func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header()["Location"] = []string{to}
				rw.WriteHeader(status)
			}, want: away(iam.ReasonAnswer, 1)})
		}
	}
	w.run(t, family)
	w.attack(t, attack{name: "a refresh", answer: func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Refresh", "0; url="+elsewhere.URL)
		rw.Header().Set("Alt-Svc", `h2="`+elsewhere.URL+`"`)
		rw.WriteHeader(http.StatusOK)
	}, want: away(iam.ReasonAnswer, 1)})
	if got := reached.Load(); got != 0 {
		t.Errorf("%d connections went elsewhere, want none", got)
	}
}
