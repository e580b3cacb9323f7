package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
)

const (
	account = "123456789012"
	alice   = "arn:aws:iam::123456789012:user/alice"
	bob     = "arn:aws:iam::123456789012:user/bob"
	admin   = "arn:aws:iam::123456789012:role/Admin"
	node    = "arn:aws:iam::123456789012:role/cortex-node"
	root    = "arn:aws:iam::123456789012:root"
	guest   = "arn:aws:sts::123456789012:federated-user/guest"
)

const permitAll = "permit (principal, action, resource);\n"

// newAuthorizer decides by the text of a file, or by the default policy.
func newAuthorizer(t testing.TB, text string) *Authorizer {
	t.Helper()
	cfg := Config{Account: account, Partition: "aws", Environment: "prod", PlatformRoles: []string{node}}
	if text != "" {
		cfg.File = filepath.Join(t.TempDir(), "p.cedar")
		write(t, cfg.File, text)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func who(t testing.TB, arn string) auth.Principal {
	t.Helper()
	p, err := auth.ParseARN(arn)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask is a query in short: the API as "name", "name Kind", or "" for the environment.
func ask(t testing.TB, arn string, action auth.Action, api string) auth.Query {
	name, kind, _ := strings.Cut(api, " ")
	if name == "secret" {
		return auth.Query{Principal: who(t, arn), Action: action, Resource: auth.Resource{Secret: kind, Environment: "prod"}}
	}
	if name == "volume" {
		return auth.Query{Principal: who(t, arn), Action: action, Resource: auth.Resource{Volume: kind, Environment: "prod"}}
	}
	return auth.Query{
		Principal: who(t, arn), Action: action,
		Resource: auth.Resource{API: name, Kind: kind, Environment: "prod"},
	}
}

const teamPolicy = `
@id("admins")
permit (principal == Cortex::Role::"arn:aws:iam::123456789012:role/Admin", action, resource);

@id("bob-reads")
permit (
  principal == Cortex::User::"arn:aws:iam::123456789012:user/bob",
  action in [Cortex::Action::"list", Cortex::Action::"get", Cortex::Action::"logs"],
  resource
);

@id("alice-iris")
permit (principal == Cortex::User::"arn:aws:iam::123456789012:user/alice", action, resource == Cortex::API::"iris");

@id("alice-jobs")
permit (
  principal == Cortex::User::"arn:aws:iam::123456789012:user/alice",
  action in [Cortex::Action::"submitJob", Cortex::Action::"stopJob"],
  resource in Cortex::Environment::"prod"
)
when { resource has kind && ["BatchAPI", "TaskAPI"].contains(resource.kind) };

@id("guests-see-the-cluster")
permit (principal is Cortex::User, action in Cortex::Action::"cluster:*", resource)
when { principal.type == "federated-user" };

@id("root-lists-staging")
permit (principal, action == Cortex::Action::"list", resource in Cortex::Environment::"staging")
when { principal.name == "root" };

@id("nobody-deletes-payments")
forbid (principal, action == Cortex::Action::"delete", resource == Cortex::API::"payments");

@id("no-splitters")
forbid (principal, action == Cortex::Action::"deploy", resource is Cortex::API)
unless { resource has kind && resource.kind != "TrafficSplitter" };

@id("alice-token")
permit (principal == Cortex::User::"arn:aws:iam::123456789012:user/alice", action == Cortex::Action::"useSecret", resource == Cortex::Secret::"iris");

@id("nobody-takes-the-root-key")
forbid (principal, action == Cortex::Action::"useSecret", resource == Cortex::Secret::"root-key");

@id("alice-cache")
permit (principal == Cortex::User::"arn:aws:iam::123456789012:user/alice", action == Cortex::Action::"useVolume", resource)
when { resource in [Cortex::Volume::"cache", Cortex::Volume::"/srv/llama"] };

@id("payments-data-stays")
forbid (principal, action in [Cortex::Action::"deleteVolume", Cortex::Action::"useVolume"], resource == Cortex::Volume::"payments");
`

func TestAuthorize(t *testing.T) {
	t.Parallel()
	type row struct {
		name, arn string
		action    auth.Action
		api       string
		want      string // "allow" or "deny", and the policies that decided
	}
	for _, tt := range []struct {
		name, policy string
		rows         []row
	}{
		{"the default policy", "", []row{
			{"a user deploys", alice, auth.ActionDeploy, "iris", "allow default"},
			{"a role deletes", admin, auth.ActionDelete, "iris RealtimeAPI", "allow default"},
			{"root sees the cluster", root, auth.ActionClusterInfo, "", "allow default"},
			{"a federated user lists", guest, auth.ActionList, "", "allow default"},
			{"a session of a role", "arn:aws:sts::123456789012:assumed-role/Admin/me", auth.ActionGet, "iris", "allow default"},
			{"the role of the nodes", node, auth.ActionList, "", "deny platform-roles"},
			{"a pod with the role of the nodes", "arn:aws:sts::123456789012:assumed-role/cortex-node/i-0abc", auth.ActionList, "", "deny platform-roles"},
			{"a user called as the role of the nodes", "arn:aws:iam::123456789012:user/cortex-node", auth.ActionList, "", "allow default"},
			{"another account", "arn:aws:iam::210987654321:user/alice", auth.ActionList, "", "deny account"},
			{"root of another account", "arn:aws:iam::210987654321:root", auth.ActionList, "", "deny account"},
			{"the account in another partition", "arn:aws-cn:iam::123456789012:user/alice", auth.ActionList, "", "deny account"},
			{"the role of the nodes in another account", "arn:aws:iam::210987654321:role/cortex-node", auth.ActionList, "", "deny account"},
			{"no such action", alice, "destroy", "iris", "deny"},
			{"a group is no action", alice, "cluster:*", "", "deny"},
			{"whoami is asked of nobody", alice, auth.ActionWhoAmI, "", "deny"},
			{"an action on the environment, done to an api", alice, auth.ActionClusterInfo, "iris", "deny"},
		}},
		{"a file that permits all", permitAll, []row{
			{"a user", alice, auth.ActionDeploy, "iris", "allow p.cedar:1"},
			{"the role of the nodes", node, auth.ActionGet, "iris", "deny platform-roles"},
			{"another account", "arn:aws:iam::210987654321:role/Admin", auth.ActionGet, "iris", "deny account"},
			{"another partition", "arn:aws-us-gov:sts::123456789012:federated-user/guest", auth.ActionGet, "iris", "deny account"},
			{"an action on the environment, done to an api", alice, auth.ActionRevokeSessions, "iris", "deny"},
		}},
		{"a file of a team", teamPolicy, []row{
			{"an admin deletes", admin, auth.ActionDelete, "iris RealtimeAPI", "allow admins"},
			{"an admin audits", admin, auth.ActionClusterAudit, "", "allow admins"},
			{"forbid beats permit", admin, auth.ActionDelete, "payments RealtimeAPI", "deny nobody-deletes-payments"},
			{"only that api is forbidden", admin, auth.ActionDelete, "payments2 RealtimeAPI", "allow admins"},
			{"bob reads one", bob, auth.ActionGet, "iris", "allow bob-reads"},
			{"bob reads all", bob, auth.ActionList, "", "allow bob-reads"},
			{"bob reads logs", bob, auth.ActionLogs, "iris", "allow bob-reads"},
			{"bob does not deploy", bob, auth.ActionDeploy, "iris RealtimeAPI", "deny"},
			{"bob does not delete", bob, auth.ActionDelete, "iris", "deny"},
			{"a role called bob", "arn:aws:iam::123456789012:role/bob", auth.ActionGet, "iris", "deny"},
			{"a session called bob", "arn:aws:sts::123456789012:assumed-role/Other/bob", auth.ActionGet, "iris", "deny"},
			{"a session called as the arn of bob", "arn:aws:sts::123456789012:assumed-role/Other/user=bob", auth.ActionGet, "iris", "deny"},
			{"a user with a path is the user", "arn:aws:iam::123456789012:user/ml/bob", auth.ActionGet, "iris", "allow bob-reads"},
			{"alice deploys her api", alice, auth.ActionDeploy, "iris RealtimeAPI", "allow alice-iris"},
			{"alice and another api", alice, auth.ActionDeploy, "other RealtimeAPI", "deny"},
			{"alice and the environment", alice, auth.ActionDeploy, "", "deny"},
			{"an api is no environment of its name", alice, auth.ActionDeploy, "prod RealtimeAPI", "deny"},
			{"alice runs batches", alice, auth.ActionSubmitJob, "nightly BatchAPI", "allow alice-jobs"},
			{"alice runs tasks", alice, auth.ActionStopJob, "fit TaskAPI", "allow alice-jobs"},
			{"not of another kind", alice, auth.ActionSubmitJob, "live AsyncAPI", "deny"},
			{"a kind that is missing is none", alice, auth.ActionSubmitJob, "nightly", "deny"},
			{"an environment has no kind", alice, auth.ActionSubmitJob, "", "deny"},
			{"a group of actions", guest, auth.ActionClusterAudit, "", "allow guests-see-the-cluster"},
			{"and not the others", guest, auth.ActionList, "", "deny"},
			{"a plain user is not federated", alice, auth.ActionClusterInfo, "", "deny"},
			{"another environment", root, auth.ActionList, "iris", "deny"},
			{"alice uses her secret", alice, auth.ActionUseSecret, "secret iris", "allow alice-token"},
			{"and does not set it", alice, auth.ActionSetSecret, "secret iris", "deny"},
			{"and does not delete it", alice, auth.ActionDeleteSecret, "secret iris", "deny"},
			{"and lists none", alice, auth.ActionListSecrets, "", "deny"},
			{"nor uses another", alice, auth.ActionUseSecret, "secret other", "deny"},
			{"an api is no secret of its name", alice, auth.ActionDeploy, "secret iris", "deny"},
			{"and a secret no api", alice, auth.ActionUseSecret, "iris", "deny"},
			{"an admin sets secrets", admin, auth.ActionSetSecret, "secret other", "allow admins"},
			{"an admin deletes them", admin, auth.ActionDeleteSecret, "secret other", "allow admins"},
			{"an admin lists them", admin, auth.ActionListSecrets, "secret other", "allow admins"},
			{"forbid beats permit for secrets too", admin, auth.ActionUseSecret, "secret root-key", "deny nobody-takes-the-root-key"},
			{"alice mounts her volume", alice, auth.ActionUseVolume, "volume cache", "allow alice-cache"},
			{"and a folder of the machine", alice, auth.ActionUseVolume, "volume /srv/llama", "allow alice-cache"},
			{"and nothing below it by another name", alice, auth.ActionUseVolume, "volume /srv/llama/..", "deny"},
			{"and does not delete it", alice, auth.ActionDeleteVolume, "volume cache", "deny"},
			{"a secret is no volume of its name", alice, auth.ActionUseVolume, "secret cache", "deny"},
			{"an api is none either", alice, auth.ActionUseVolume, "iris", "deny"},
			{"a volume is no api", alice, auth.ActionDeploy, "volume iris", "deny"},
			{"an admin lists volumes", admin, auth.ActionListVolumes, "volume cache", "allow admins"},
			{"an admin deletes them", admin, auth.ActionDeleteVolume, "volume cache", "allow admins"},
			{"forbid beats permit for volumes too", admin, auth.ActionDeleteVolume, "volume payments", "deny payments-data-stays"},
			{"bob reads apis, not secrets", bob, auth.ActionUseSecret, "secret iris", "deny"},
			{"forbid where unless does not hold", admin, auth.ActionDeploy, "half TrafficSplitter", "deny no-splitters"},
			{"forbid where the kind is missing", admin, auth.ActionDeploy, "half", "deny no-splitters"},
			{"forbid of apis says nothing of the environment", admin, auth.ActionDeploy, "", "allow admins"},
		}},
		{"several policies decide", `@id("z") permit (principal, action, resource);
@id("a") permit (principal in Cortex::User::"` + bob + `", action, resource is Cortex::API in Cortex::Environment::"prod");
@id("m") forbid (principal, action == Cortex::Action::"delete", resource);
@id("b") forbid (principal is Cortex::User, action in [Cortex::Action::"delete"], resource);`, []row{
			{"all permits", bob, auth.ActionGet, "iris", "allow a z"},
			{"all forbids", bob, auth.ActionDelete, "iris", "deny b m"},
			{"those that apply", admin, auth.ActionDelete, "iris", "deny m"},
		}},
		{"what entities say of themselves", `@id("name") permit (principal, action == Cortex::Action::"get", resource) when { principal.name like "al*" };
@id("kind") permit (principal, action == Cortex::Action::"logs", resource) when { principal.type == "root" || principal.type == "role" };
@id("us") permit (principal, action == Cortex::Action::"list", resource) when { principal.account == "123456789012" && principal.partition == "aws" };
@id("here") permit (principal, action == Cortex::Action::"deploy", resource) when { resource.environment == "prod" };
@id("there") permit (principal, action == Cortex::Action::"refresh", resource) when { resource.environment == "staging" };
@id("names") permit (principal, action == Cortex::Action::"delete", resource) when { ["root", "Admin", "guest"].contains(principal.name) };`, []row{
			{"the name of root", root, auth.ActionDelete, "iris", "allow names"},
			{"the name of a role", admin, auth.ActionDelete, "iris", "allow names"},
			{"the name of a federated user", guest, auth.ActionDelete, "iris", "allow names"},
			{"the name has no type", alice, auth.ActionGet, "iris", "allow name"},
			{"another name", bob, auth.ActionGet, "iris", "deny"},
			{"the type of root", root, auth.ActionLogs, "iris", "allow kind"},
			{"the type of a role", admin, auth.ActionLogs, "iris", "allow kind"},
			{"the type of a user", alice, auth.ActionLogs, "iris", "deny"},
			{"account and partition", guest, auth.ActionList, "", "allow us"},
			{"the environment of an api", alice, auth.ActionDeploy, "iris", "allow here"},
			{"the environment of an environment", alice, auth.ActionDeploy, "", "allow here"},
			{"another environment", alice, auth.ActionRefresh, "iris", "deny"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthorizer(t, tt.policy)
			for _, r := range tt.rows {
				q := ask(t, r.arn, r.action, r.api)
				for _, when := range []string{"first", "remembered"} {
					if got := verdict(a.Authorize(q)); got != r.want {
						t.Errorf("%s: Authorize(%s %s %q) = %s (%s), want %s", r.name, q.Principal, r.action, r.api, got, when, r.want)
					}
				}
				if x := a.Explain(q); x.Decision != strings.Fields(r.want)[0] {
					t.Errorf("%s: Explain(%s %s %q) = %s, want %s", r.name, q.Principal, r.action, r.api, x.Decision, r.want)
				}
			}
		})
	}
}

func verdict(d auth.Decision) string {
	text := auth.Deny
	if d.Allowed {
		text = auth.Allow
	}
	return strings.Join(append([]string{text}, d.Policies...), " ")
}

// Whoever proves identities has checked all of it. A slip there must not open this.
func TestPrincipalsThatContradictThemselvesAreDenied(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, permitAll)
	for _, p := range []auth.Principal{
		{},
		{Account: account, Partition: "aws"},
		{Account: account, Partition: "aws", Type: auth.User, ARN: "arn:aws:iam::210987654321:user/alice"},
		{Account: account, Partition: "aws", Type: auth.User, ARN: "arn:aws-cn:iam::123456789012:user/alice"},
		{Account: account, Partition: "aws", Type: auth.User, ARN: node},
		{Account: account, Partition: "aws", Type: auth.Role, ARN: alice},
		{Account: account, Partition: "aws", Type: auth.Role, ARN: "arn:aws:iam::123456789012:role/aws/cortex-node"},
		{Account: account, Partition: "aws", Type: auth.Role, ARN: "arn:aws:sts::123456789012:assumed-role/cortex-node/x"},
		{Account: account, Partition: "aws", Type: auth.Role, ARN: "arn:aws:iam::123456789012:role/"},
		{Account: account, Partition: "aws", Type: auth.Root, ARN: alice},
		{Account: account, Partition: "aws", Type: auth.Federated, ARN: alice},
		{Account: account, Partition: "aws", Type: "group", ARN: alice},
		{Account: "210987654321", Partition: "aws", Type: auth.User, ARN: alice},
		{Account: account, Partition: "aws-cn", Type: auth.User, ARN: alice},
	} {
		d := a.Authorize(auth.Query{Principal: p, Action: auth.ActionList})
		if got := verdict(d); got != "deny account" {
			t.Errorf("Authorize(%+v) = %s, want deny account", p, got)
		}
	}
}

func TestSessionNamesChangeNothing(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, teamPolicy)
	want := a.Authorize(ask(t, admin, auth.ActionDelete, "iris"))
	for _, session := range []string{"me", "bob", "cortex-node", "arn=aws"} {
		q := ask(t, "arn:aws:sts::123456789012:assumed-role/Admin/"+session, auth.ActionDelete, "iris")
		if got := a.Authorize(q); !cmp.Equal(got, want) {
			t.Errorf("Authorize(session %s) = %+v, want %+v", session, got, want)
		}
		principal, _ := newQuestion(q).Get(newQuestion(q).principal)
		if text := fmt.Sprint(principal); strings.Contains(text, "\""+session+"\"") {
			t.Errorf("the entity of session %s = %s, want nothing of the session", session, text)
		}
	}
}

func TestAResourceWithoutEnvironmentIsOfOurs(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, `permit (principal, action, resource in Cortex::Environment::"prod");`)
	for env, want := range map[string]bool{"": true, "prod": true, "staging": false} {
		q := auth.Query{Principal: who(t, alice), Action: auth.ActionGet, Resource: auth.Resource{API: "iris", Environment: env}}
		if got := a.Authorize(q).Allowed; got != want {
			t.Errorf("Authorize(environment %q) = %t, want %t", env, got, want)
		}
	}
}

func TestNewRefusesWhatItCannotDecideFor(t *testing.T) {
	t.Parallel()
	good := Config{Account: account, Partition: "aws", Environment: "prod"}
	for name, change := range map[string]func(*Config){
		"no account":                func(c *Config) { c.Account = "" },
		"an account that is none":   func(c *Config) { c.Account = "1234" },
		"an account with more":      func(c *Config) { c.Account = "123456789012:x" },
		"no partition":              func(c *Config) { c.Partition = "" },
		"a partition that is none":  func(c *Config) { c.Partition = "azure" },
		"no environment":            func(c *Config) { c.Environment = "" },
		"a platform role by name":   func(c *Config) { c.PlatformRoles = []string{"cortex-node"} },
		"a platform role of a user": func(c *Config) { c.PlatformRoles = []string{alice} },
		"no such file":              func(c *Config) { c.File = filepath.Join(t.TempDir(), "none") },
		"a folder":                  func(c *Config) { c.File = t.TempDir() },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%s) = nil error, want one", name)
		}
	}
	good.PlatformRoles = []string{"arn:aws:iam::123456789012:role/eks/cortex-node"}
	a, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := verdict(a.Authorize(ask(t, node, auth.ActionList, ""))); got != "deny platform-roles" {
		t.Errorf("Authorize(platform role with a path) = %s, want deny platform-roles", got)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	if got, want := newAuthorizer(t, "").Describe(), "default: every principal of account 123456789012"; got != want {
		t.Errorf("Describe() = %s, want %s", got, want)
	}
	for text, want := range map[string]string{permitAll: " (1 policy)", teamPolicy: " (12 policies)"} {
		a := newAuthorizer(t, text)
		if got := a.Describe(); got != a.cfg.File+want {
			t.Errorf("Describe() = %s, want %s", got, a.cfg.File+want)
		}
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, teamPolicy)
	for range 3 {
		a.Authorize(ask(t, bob, auth.ActionGet, "iris"))
	}
	a.Authorize(ask(t, bob, auth.ActionDeploy, "iris"))
	a.Authorize(ask(t, node, auth.ActionGet, "iris"))
	a.Explain(ask(t, bob, auth.ActionGet, "iris"))
	if got, want := a.Counts(), (Counts{Allowed: 3, Denied: 2}); got != want {
		t.Errorf("Counts() = %+v, want %+v", got, want)
	}
}

func TestCallersCannotChangeWhatIsRemembered(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, "")
	q := ask(t, alice, auth.ActionGet, "iris")
	a.Authorize(q).Policies[0] = "changed"
	a.Authorize(q).Policies[0] = "changed"
	if got := verdict(a.Authorize(q)); got != "allow default" {
		t.Errorf("Authorize() = %s, want allow default", got)
	}
}

// Editors put a byte order mark before a file, where nobody sees it.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	_, err := Check("b.cedar", []byte("\ufeff"+permitAll))
	if err == nil || !strings.Contains(err.Error(), "byte order mark") {
		t.Errorf("Check() = %v, want it to name the byte order mark", err)
	}
}
