package eks

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

const carol = "arn:aws:iam::" + account + ":user/carol"

// Who is granted access administers the cluster, and who is revoked has no way in left.
func TestGrantAndRevoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		w.aws.AddUser("carol")
		settle(t)
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for of, welcome := range map[string]bool{"iris": true, "another": false} {
			text, _, err := a.Token(ctx, of)
			if err != nil {
				t.Fatal(err)
			}
			if who, err := w.aws.Authenticate("iris", text); (err == nil && who.ARN == a.Caller && who.Administrator) != welcome {
				t.Errorf("with a token for %s: %+v, %v; want to be let in: %v", of, who, err, welcome)
			}
		}
		for range 2 { // again is the same
			if arn, err := a.Grant(ctx, "iris", carol); err != nil || arn != carol {
				t.Fatalf("Grant = %s, %v", arn, err)
			}
		}
		settle(t)
		if got := w.aws.Administrators("iris"); !slices.Contains(got, carol) {
			t.Errorf("administrators are %q, want carol among them", got)
		}
		// eksctl has mapped her too.
		w.kube.mapped = []Mapping{
			{ARN: "arn:aws:iam::" + account + ":role/eksctl-iris-nodes", Role: true, Groups: []string{"system:nodes"}},
			{ARN: carol, Groups: []string{"system:masters"}},
		}
		all, err := a.Administrators(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(x cluster.Access) bool { return x.ARN == carol })
		if i < 0 || !slices.Equal(all[i].By, []string{byEntry, byMap}) {
			t.Errorf("Administrators = %+v, want carol by both ways", all)
		}
		removed, err := a.Revoke(ctx, "iris", carol)
		if err != nil || !slices.Equal(removed, []string{byEntry, byMap}) {
			t.Errorf("Revoke = %q, %v; want both ways", removed, err)
		}
		settle(t)
		if got := w.aws.Administrators("iris"); slices.Contains(got, carol) || len(w.kube.mapped) != 1 {
			t.Errorf("after revoke administrators are %q, aws-auth has %+v", got, w.kube.mapped)
		}
		if _, err := a.Revoke(ctx, "iris", carol); fault.Code(err) != CodeNotGranted {
			t.Errorf("Revoke again = %v, want %s", err, CodeNotGranted)
		}
		// Who made the cluster is the last one.
		if _, err := a.Revoke(ctx, "iris", a.Caller); fault.Code(err) != CodeLastAdministrator {
			t.Errorf("Revoke of the last administrator = %v, want %s", err, CodeLastAdministrator)
		}
		for _, who := range []string{
			"carol", "arn:aws:iam::444455556666:user/carol", "arn:aws-cn:iam::" + account + ":user/carol", "arn:aws:iam::" + account + ":group/all",
			"arn:aws:iam::" + account + ":role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS", "arn:aws:iam::" + account + ":user/nobody",
			"arn:aws:sts::" + account + ":assumed-role/Nobody/session",
		} {
			if _, err := a.Grant(ctx, "iris", who); fault.Code(err) != CodeNotGrantable {
				t.Errorf("Grant(%s) = %v, want %s", who, err, CodeNotGrantable)
			}
		}
	})
}

// A user with a path is called with it by IAM, by access entries and by aws-auth; nobody else
// is meant by a name without it.
func TestUserWithAPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		dora := w.aws.AddUser("team/dora").ARN
		if want := "arn:aws:iam::" + account + ":user/team/dora"; dora != want {
			t.Fatalf("she is called %s, want %s", dora, want)
		}
		without := strings.Replace(dora, "team/", "", 1)
		settle(t)
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := a.Grant(ctx, "iris", dora); err != nil || got != dora {
				t.Fatalf("Grant = %s, %v", got, err)
			}
			settle(t)
			if got := w.aws.Administrators("iris"); !slices.Contains(got, dora) {
				t.Errorf("administrators are %q, want %s among them", got, dora)
			}
			// eksctl writes what it is given; the authenticator does not look at case.
			w.kube.mapped = []Mapping{{ARN: strings.Replace(dora, "team/dora", "Team/Dora", 1), Groups: []string{mastersGroup}}, {ARN: without, Groups: []string{mastersGroup}}}
			if removed, err := a.Revoke(ctx, "iris", dora); err != nil || !slices.Equal(removed, []string{byEntry, byMap}) {
				t.Errorf("Revoke = %q, %v; want both ways", removed, err)
			}
			settle(t)
			if got := w.aws.Administrators("iris"); slices.Contains(got, dora) || len(w.kube.mapped) != 1 || w.kube.mapped[0].ARN != without {
				t.Errorf("after revoke administrators are %q, aws-auth has %+v; want the user without a path only", got, w.kube.mapped)
			}
		}
		if _, err := a.Grant(ctx, "iris", strings.Replace(dora, "team/dora", "dora", 1)); fault.Code(err) != CodeNotGrantable || !strings.Contains(fault.From(err).Hint, "user/team/alice") {
			t.Errorf("Grant without the path = %v, want %s and where it stands", err, CodeNotGrantable)
		}
	})
}

// A role with a path in aws-auth is nobody, and so nobody's successor as administrator.
func TestLastAdministratorBesideALineThatCountsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.kube.mapped = []Mapping{{ARN: "arn:aws:iam::" + account + ":role/team/Admins", Role: true, Groups: []string{mastersGroup}}}
		if _, err := a.Revoke(t.Context(), "iris", a.Caller); fault.Code(err) != CodeLastAdministrator {
			t.Errorf("Revoke of the last administrator = %v, want %s", err, CodeLastAdministrator)
		}
		w.kube.mapped[0].ARN = "arn:aws:iam::" + account + ":role/Admins"
		if _, err := a.Revoke(t.Context(), "iris", a.Caller); err != nil {
			t.Errorf("Revoke beside another administrator = %v", err)
		}
	})
}

// A line of aws-auth means a role whatever its path is, and nobody else.
func TestSamePrincipal(t *testing.T) {
	t.Parallel()
	role := func(path string) string { return "arn:aws:iam::" + account + ":role/" + path }
	for _, tt := range []struct {
		mapped, principal string
		want              bool
	}{
		{role("Admins"), role("Admins"), true},
		{role("Admins"), role("team/Admins"), true},
		{role("Admins"), role("team/Others"), false},
		{role("ADMINS"), role("team/Admins"), true},
		{carol, carol, true},
		{strings.Replace(carol, "carol", "CAROL", 1), carol, true},
		{carol, role("carol"), false},
		{"arn:aws:iam::" + account + ":user/carol", "arn:aws:iam::" + account + ":user/path/carol", false},
		{"arn:aws:iam::444455556666:role/Admins", role("Admins"), false},
		{"nonsense", role("nonsense"), false},
	} {
		if got := samePrincipal(Mapping{ARN: tt.mapped}, tt.principal); got != tt.want {
			t.Errorf("samePrincipal(%s, %s) = %v, want %v", tt.mapped, tt.principal, got, tt.want)
		}
	}
}

// A token is what EKS takes: a request to the region's STS that names the cluster.
func TestToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := a.Token(t.Context(), "iris")
		if err != nil {
			t.Fatal(err)
		}
		encoded, ok := strings.CutPrefix(text, "k8s-aws-v1.")
		decoded, err := base64.RawURLEncoding.DecodeString(encoded)
		if !ok || err != nil {
			t.Fatalf("Token = %q: %v", text, err)
		}
		u, err := url.Parse(string(decoded))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Host != "sts.us-west-2.amazonaws.com" || q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-Expires") != "60" || q.Get("X-Amz-SignedHeaders") != "host;x-k8s-aws-id" {
			t.Errorf("the token is %s", u)
		}
	})
}
