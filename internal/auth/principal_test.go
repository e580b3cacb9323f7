package auth_test

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
)

const (
	account = "123456789012"
	iamARN  = "arn:aws:iam::" + account + ":"
	stsARN  = "arn:aws:sts::" + account + ":"
)

func TestParseARN(t *testing.T) {
	t.Parallel()
	for arn, want := range map[string]auth.Principal{
		iamARN + "user/alice":                         {Type: auth.User, ARN: iamARN + "user/alice"},
		iamARN + "user/division/team/alice":           {Type: auth.User, ARN: iamARN + "user/alice"},
		iamARN + "user/a:b/c!~/alice":                 {Type: auth.User, ARN: iamARN + "user/alice"},
		iamARN + "user/a+b=c,d.e@f-g_H":               {Type: auth.User, ARN: iamARN + "user/a+b=c,d.e@f-g_H"},
		iamARN + "user/" + strings.Repeat("a", 64):    {Type: auth.User, ARN: iamARN + "user/" + strings.Repeat("a", 64)},
		iamARN + "role/Admin":                         {Type: auth.Role, ARN: iamARN + "role/Admin"},
		iamARN + "role/aws-service-role/x/Admin":      {Type: auth.Role, ARN: iamARN + "role/Admin"},
		stsARN + "assumed-role/Admin/alice@x.org":     {Type: auth.Role, ARN: iamARN + "role/Admin", Session: "alice@x.org"},
		stsARN + "assumed-role/Admin/i-0123":          {Type: auth.Role, ARN: iamARN + "role/Admin", Session: "i-0123"},
		stsARN + "assumed-role/AWSReservedSSO_A_0/a1": {Type: auth.Role, ARN: iamARN + "role/AWSReservedSSO_A_0", Session: "a1"},
		iamARN + "root":                               {Type: auth.Root, ARN: iamARN + "root"},
		stsARN + "federated-user/bob":                 {Type: auth.Federated, ARN: stsARN + "federated-user/bob"},
		"arn:aws-us-gov:iam::" + account + ":user/a":  {Partition: "aws-us-gov", Type: auth.User, ARN: "arn:aws-us-gov:iam::" + account + ":user/a"},
		"arn:aws-iso-b:sts::" + account + ":assumed-role/R/ss": {
			Partition: "aws-iso-b", Type: auth.Role, ARN: "arn:aws-iso-b:iam::" + account + ":role/R", Session: "ss",
		},
	} {
		want.Account = account
		if want.Partition == "" {
			want.Partition = "aws"
		}
		got, err := auth.ParseARN(arn)
		if err != nil || got != want {
			t.Errorf("ParseARN(%q) = %+v, %v, want %+v", arn, got, err, want)
		}
	}
}

func TestParseARNRefuses(t *testing.T) {
	t.Parallel()
	for _, arn := range []string{
		"", "alice", "arn", "arn:aws:iam::" + account, iamARN, iamARN + "user", iamARN + "user/", iamARN + "user//alice", iamARN + "user/a//b", iamARN + "user/a/",
		iamARN + "user/al ice", iamARN + "user/alice\n", "\n" + iamARN + "user/alice", iamARN + "user/alic\u0435", iamARN + "user/a*", iamARN + "user/a:b",
		iamARN + "user/" + strings.Repeat("a", 65), iamARN + "user/" + strings.Repeat("a/", 1100) + "b", iamARN + "root/", iamARN + "root/x", iamARN + "rooted", iamARN + "*",
		iamARN + "group/g", iamARN + "instance-profile/p", iamARN + "policy/p", iamARN + "assumed-role/R/s1", iamARN + "federated-user/bob", iamARN + "User/alice",
		stsARN + "user/alice", stsARN + "role/R", stsARN + "root", stsARN + "assumed-role/R", stsARN + "assumed-role/R/", stsARN + "assumed-role//s1",
		stsARN + "assumed-role/R/s", stsARN + "assumed-role/R/s1/s2", stsARN + "assumed-role/a/R/s1", stsARN + "assumed-role/R/s:1",
		stsARN + "assumed-role/R/" + strings.Repeat("s", 65), stsARN + "federated-user/", stsARN + "federated-user/b", stsARN + "federated-user/a/b",
		"arn:aws:iam:us-east-1:" + account + ":user/alice", "arn:aws:iam::12345678901:user/alice", "arn:aws:iam::1234567890123:user/alice",
		"arn:aws:iam:::user/alice", "arn:aws:iam::aws:user/alice", "arn:aws:ec2::" + account + ":user/alice", "arn:aws:s3:::bucket", "arn:evil:iam::" + account + ":user/a",
		"arn:awsx:iam::" + account + ":user/a", "arn:aws-:iam::" + account + ":user/a", "ARN:aws:iam::" + account + ":user/a", "arn:AWS:iam::" + account + ":user/a",
		" " + iamARN + "user/alice", "arn:aws:iam::" + account + ":user/alice:x", "arn:aws:iam::١٢٣456789012:user/alice",
	} {
		if got, err := auth.ParseARN(arn); err == nil {
			t.Errorf("ParseARN(%q) = %+v, want a refusal", arn, got)
		}
	}
}

func TestParseIdentity(t *testing.T) {
	t.Parallel()
	const user, role = "AIDACKCEVSQ6C2EXAMPLE", "AROADBQP57FF2AEXAMPLE"
	for name, c := range map[string]struct {
		arn, id, account string
		unique           string // "" when it is refused
	}{
		"user":                            {iamARN + "user/alice", user, account, user},
		"user with a path":                {iamARN + "user/a/b/alice", user, account, user},
		"assumed role":                    {stsARN + "assumed-role/R/s1", role + ":s1", account, role},
		"root":                            {iamARN + "root", account, account, account},
		"federated user":                  {stsARN + "federated-user/bob", account + ":bob", account, account + ":bob"},
		"role that nobody assumed":        {iamARN + "role/R", role + ":s1", account, ""},
		"role with an empty session":      {iamARN + "role/R", role + ":", account, ""},
		"role with a path":                {iamARN + "role/a/R", role + ":", account, ""},
		"another account":                 {iamARN + "user/alice", user, "210987654321", ""},
		"no account":                      {iamARN + "user/alice", user, "", ""},
		"user with the id of a role":      {iamARN + "user/alice", role, account, ""},
		"user with a session":             {iamARN + "user/alice", user + ":s1", account, ""},
		"user with an id in lower case":   {iamARN + "user/alice", strings.ToLower(user), account, ""},
		"user with a short id":            {iamARN + "user/alice", "AIDA", account, ""},
		"user with the account":           {iamARN + "user/alice", account, account, ""},
		"role with the id of a user":      {stsARN + "assumed-role/R/s1", user + ":s1", account, ""},
		"role with another session":       {stsARN + "assumed-role/R/s1", role + ":s2", account, ""},
		"role without a session":          {stsARN + "assumed-role/R/s1", role, account, ""},
		"role with two":                   {stsARN + "assumed-role/R/s1", role + ":s1:s1", account, ""},
		"root with the id of a user":      {iamARN + "root", user, account, ""},
		"root of another":                 {iamARN + "root", "210987654321", account, ""},
		"federated user with another":     {stsARN + "federated-user/bob", account + ":alice", account, ""},
		"federated user without account":  {stsARN + "federated-user/bob", "bob", account, ""},
		"federated user of another":       {stsARN + "federated-user/bob", "210987654321:bob", account, ""},
		"federated user with a user's id": {stsARN + "federated-user/bob", user, account, ""},
	} {
		p, err := auth.ParseIdentity(c.arn, c.id, c.account)
		if (err == nil) != (c.unique != "") || p.UniqueID != c.unique {
			t.Errorf("ParseIdentity of a %s = %+v, %v, want the unique id %q", name, p, err, c.unique)
		}
	}
}

// FuzzParseARN: canonicalising twice changes nothing, and a name is never longer
// or another account's than what was given.
func FuzzParseARN(f *testing.F) {
	for _, arn := range []string{
		iamARN + "user/a/b/alice", iamARN + "role/R", stsARN + "assumed-role/R/s1", iamARN + "root", stsARN + "federated-user/bob:x", iamARN + "user//x",
		"arn:aws-cn:iam::" + account + ":user/x", "arn:aws:iam::" + account + ":user/" + iamARN + "user/x", "", "arn:aws:sts::1:x",
	} {
		f.Add(arn)
	}
	f.Fuzz(func(t *testing.T, arn string) {
		p, err := auth.ParseARN(arn)
		if err != nil {
			if p != (auth.Principal{}) {
				t.Fatalf("ParseARN(%q) = %+v and an error", arn, p)
			}
			return
		}
		again, err := auth.ParseARN(p.ARN)
		p.Session = "" // the canonical form names the role, not its session
		if err != nil || again != p {
			t.Fatalf("ParseARN(%q) = %+v, of its own ARN %+v, %v", arn, p, again, err)
		}
		if !strings.HasPrefix(arn, "arn:"+p.Partition+":") || !strings.Contains(arn, "::"+p.Account+":") || !auth.IsAccount(p.Account) {
			t.Fatalf("ParseARN(%q) = %+v, which is somebody else", arn, p)
		}
		if p.ARN != "arn:"+p.Partition+":iam::"+p.Account+":"+p.Name() && p.Type != auth.Federated {
			t.Fatalf("ParseARN(%q) = %+v, whose parts do not make its ARN", arn, p)
		}
	})
}
