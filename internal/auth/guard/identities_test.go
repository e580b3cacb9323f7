package guard_test

import (
	"net/http"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/auth/iam"
)

// TestIdentities is who is let in, and as whom.
func TestIdentities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := refused(iam.ReasonIdentity, 1)
	other := func(arn string) outcome {
		return outcome{status: http.StatusForbidden, code: auth.CodeOtherAccount, reason: iam.ReasonAccount, calls: 1, principal: arn}
	}
	alice, role := w.ids["alice"], w.ids["role"]
	// STS says what it never should.
	odd := func(base authtest.Identity, change func(*authtest.Identity)) func(http.ResponseWriter, *http.Request) {
		change(&base)
		return as(base)
	}
	arn := func(base authtest.Identity, arn string) func(http.ResponseWriter, *http.Request) {
		return odd(base, func(id *authtest.Identity) { id.ARN = arn })
	}
	userID := func(base authtest.Identity, to string) func(http.ResponseWriter, *http.Request) {
		return odd(base, func(id *authtest.Identity) { id.UserID = to })
	}
	account := func(base authtest.Identity, to string) func(http.ResponseWriter, *http.Request) {
		return odd(base, func(id *authtest.Identity) { id.Account = to })
	}
	const own = "arn:aws:iam::" + ownAccount + ":"
	w.run(t, []attack{
		{name: "a user", who: "alice", want: granted(aliceARN)},
		{name: "a user with a path", who: "pathed", want: granted(aliceARN)},
		{name: "root", who: "root", want: granted(own + "root")},
		{name: "an assumed role", who: "role", want: granted(adminARN)},
		{name: "a role of Identity Center", who: "sso", want: granted(own + "role/AWSReservedSSO_AdministratorAccess_0123456789abcdef")},
		{name: "a federated user", who: "federated", want: granted("arn:aws:sts::" + ownAccount + ":federated-user/bob")},
		{name: "the role of the nodes: proven, and may do nothing", who: "node", want: granted(nodeRole), after: func(t *testing.T, w *world, s auth.Session) {
			if resp, body := w.do(t, http.MethodGet, "/v1/info", s.Token); resp.StatusCode != http.StatusForbidden {
				t.Errorf("GET /v1/info = %d %s, want 403", resp.StatusCode, body)
			}
		}},

		{name: "another account", who: "mallory", want: other(malloryARN)},
		{name: "another account's root", answer: as(authtest.Identity{ARN: "arn:aws:iam::" + otherAccount + ":root", UserID: otherAccount, Account: otherAccount}), want: other("arn:aws:iam::" + otherAccount + ":root")},
		{name: "a role of the same name in another account", who: "otherrole", want: other("arn:aws:iam::" + otherAccount + ":role/Admin")},
		{name: "our account's number in another partition", who: "gov", want: other("arn:aws-us-gov:iam::" + ownAccount + ":user/alice")},
		{name: "our account's number in China", who: "china", want: other("arn:aws-cn:iam::" + ownAccount + ":role/Admin")},
		{name: "our account's number as a user's name", answer: as(authtest.Identity{ARN: "arn:aws:iam::" + otherAccount + ":user/" + ownAccount, UserID: alice.UserID, Account: otherAccount}), want: other("arn:aws:iam::" + otherAccount + ":user/" + ownAccount)},
		{name: "our ARN as another's path", answer: as(authtest.Identity{ARN: "arn:aws:iam::" + otherAccount + ":user/" + own + "user/alice", UserID: alice.UserID, Account: otherAccount}), want: other("arn:aws:iam::" + otherAccount + ":user/alice")},

		{name: "of EC2", answer: arn(alice, "arn:aws:ec2::"+ownAccount+":instance/i-0123456789abcdef0"), want: no},
		{name: "of EC2, called a user", answer: arn(alice, "arn:aws:ec2::"+ownAccount+":user/alice"), want: no},
		{name: "of S3", answer: arn(alice, "arn:aws:s3:::bucket"), want: no},
		{name: "a group", answer: arn(alice, own+"group/admins"), want: no},
		{name: "an instance profile", answer: arn(alice, own+"instance-profile/Admin"), want: no},
		{name: "a role that nobody assumed", answer: arn(role, own+"role/Admin"), want: no},
		{name: "a user of STS", answer: arn(alice, "arn:aws:sts::"+ownAccount+":user/alice"), want: no},
		{name: "an assumed role of IAM", answer: arn(role, own+"assumed-role/Admin/alice@example.com"), want: no},
		{name: "a region in the ARN", answer: arn(alice, "arn:aws:iam:us-west-2:"+ownAccount+":user/alice"), want: no},
		{name: "a partition that is none", answer: arn(alice, "arn:evil:iam::"+ownAccount+":user/alice"), want: no},
		{name: "a longer partition", answer: arn(alice, "arn:awsx:iam::"+ownAccount+":user/alice"), want: no},
		{name: "no ARN", answer: arn(alice, ""), want: no},
		{name: "a wildcard", answer: arn(alice, own+"*"), want: no},
		{name: "root with a name", answer: arn(w.ids["root"], own+"root/alice"), want: no},
		{name: "a user without a name", answer: arn(alice, own+"user/"), want: no},
		{name: "a user whose path has a hole", answer: arn(alice, own+"user/a//alice"), want: no},
		{name: "an account in upper case", answer: arn(alice, strings.ToUpper(own)+"user/alice"), want: no},
		{name: "space around the ARN", answer: arn(alice, " "+alice.ARN+"\n"), want: no},
		{name: "an ARN of 3 KiB", answer: arn(alice, own+"user/"+strings.Repeat("a/", 1500)+"alice"), want: no},
		{name: "an ARN that is no ASCII", answer: arn(alice, own+"user/alic\u0435"), want: no},

		{name: "an assumed role without a session", answer: arn(role, "arn:aws:sts::"+ownAccount+":assumed-role/Admin"), want: no},
		{name: "a session that is an ARN", answer: odd(role, func(id *authtest.Identity) {
			id.ARN = "arn:aws:sts::" + ownAccount + ":assumed-role/Admin/" + own + "root"
			id.UserID = "AROADBQP57FF2AEXAMPLE:" + own + "root"
		}), want: no},
		{name: "a session with a slash", answer: odd(role, func(id *authtest.Identity) {
			id.ARN = "arn:aws:sts::" + ownAccount + ":assumed-role/Guest/Admin/alice"
			id.UserID = "AROADBQP57FF2AEXAMPLE:Admin/alice"
		}), want: no},
		{name: "a session with a colon", answer: odd(role, func(id *authtest.Identity) {
			id.ARN += ":x"
			id.UserID += ":x"
		}), want: no},
		{name: "a session of one character", answer: odd(role, func(id *authtest.Identity) {
			id.ARN, id.UserID = "arn:aws:sts::"+ownAccount+":assumed-role/Admin/a", "AROADBQP57FF2AEXAMPLE:a"
		}), want: no},

		{name: "ARN and Account of two accounts", answer: account(alice, otherAccount), want: no},
		{name: "Account ours, ARN another's", answer: account(w.ids["mallory"], ownAccount), want: no},
		{name: "Account of 11 digits", answer: account(alice, ownAccount[1:]), want: no},
		{name: "Account with space", answer: account(alice, ownAccount+" "), want: no},
		{name: "no Account", answer: account(alice, ""), want: no},

		{name: "a user with the id of a role", answer: userID(alice, role.UserID), want: no},
		{name: "a user with the id of a key", answer: userID(alice, alice.AccessKeyID), want: no},
		{name: "a user with the id of root", answer: userID(alice, ownAccount), want: no},
		{name: "a user with the id of a group", answer: userID(alice, "AGPACKCEVSQ6C2EXAMPLE"), want: no},
		{name: "a user without an id", answer: userID(alice, ""), want: no},
		{name: "a role with the id of a user", answer: userID(role, alice.UserID), want: no},
		{name: "a role with another session's id", answer: userID(role, "AROADBQP57FF2AEXAMPLE:somebody"), want: no},
		{name: "a role without a session in its id", answer: userID(role, "AROADBQP57FF2AEXAMPLE"), want: no},
		{name: "a role with the id of a user and a session", answer: userID(role, alice.UserID+":alice@example.com"), want: no},
		{name: "root with the id of a user", answer: userID(w.ids["root"], alice.UserID), want: no},
		{name: "root with the id of another root", answer: userID(w.ids["root"], otherAccount), want: no},
		{name: "a federated user with another's id", answer: userID(w.ids["federated"], ownAccount+":alice"), want: no},
		{name: "a federated user with the id of a role", answer: userID(w.ids["federated"], role.UserID), want: no},
	})
}

// TestSamePrincipal has one user come by two ARNs, and one role in two sessions.
func TestSamePrincipal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain, pathed := w.login(t, "alice").Principal, w.login(t, "pathed").Principal
	if plain != pathed {
		t.Errorf("with a path it is %+v, without %+v, want the same", pathed, plain)
	}
	one := w.login(t, "role").Principal
	second := w.ids["role"]
	second.ARN, second.UserID = "arn:aws:sts::"+ownAccount+":assumed-role/Admin/other", "AROADBQP57FF2AEXAMPLE:other"
	w.sts.SetIdentity(second)
	two := w.login(t, "role").Principal
	if two.Session != "other" || one.Session != "alice@example.com" {
		t.Errorf("the sessions are %q and %q", one.Session, two.Session)
	}
	one.Session, two.Session = "", ""
	if one != two {
		t.Errorf("two sessions of one role are %+v and %+v, want the same", one, two)
	}
}

// TestOtherAccountWhileWarm has a role of another account come after ours of the
// same name: what is remembered of the first helps the second in nothing.
func TestOtherAccountWhileWarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ours := w.login(t, "role")
	if resp, _ := w.do(t, http.MethodGet, "/v1/info", ours.Token); resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /v1/info = %d, want 200", resp.StatusCode)
	}
	want := outcome{status: http.StatusForbidden, code: auth.CodeOtherAccount, reason: iam.ReasonAccount, calls: 1, principal: "arn:aws:iam::" + otherAccount + ":role/Admin"}
	w.attack(t, attack{name: "the other's", who: "otherrole", want: want})
	// The same key, which now belongs to somebody else.
	moved := w.ids["otherrole"]
	moved.AccessKeyID, moved.SecretAccessKey, moved.SessionToken = w.ids["role"].AccessKeyID, w.ids["role"].SecretAccessKey, w.ids["role"].SessionToken
	w.sts.SetIdentity(moved)
	w.attack(t, attack{name: "the other's by our key", who: "role", want: want})
	w.newLines(t)
	resp, body := w.do(t, http.MethodGet, "/v1/info", ours.Token)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("our session afterwards = %d %s, want 200", resp.StatusCode, body)
	}
}

// TestOtherAccountIsToldItsOwnARN reads the one refusal that says who was refused.
func TestOtherAccountIsToldItsOwnARN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, _ := w.evidence(t, attack{who: "mallory"})
	resp, answer := w.deliver(t, attack{}, body)
	w.seen.answer("mallory", resp, answer, "")
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(answer), malloryARN) {
		t.Errorf("the answer is %d %s, want 403 and %s", resp.StatusCode, answer, malloryARN)
	}
	if strings.Contains(string(answer), "arn:aws:iam::"+ownAccount) || strings.Contains(string(answer), "policy") {
		t.Errorf("the answer is %s, want nothing of ours in it", answer)
	}
}
