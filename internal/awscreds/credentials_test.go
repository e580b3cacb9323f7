package awscreds

import (
	"crypto/sha1" //nolint:gosec // the name that AWS gives its cache files
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
)

func ssoCache(of string) string {
	sum := sha1.Sum([]byte(of)) //nolint:gosec // see above
	return path.Join(".aws", "sso", "cache", hex.EncodeToString(sum[:])+".json")
}

func ssoToken(expires time.Time) string {
	return fmt.Sprintf(`{"startUrl":"https://corp.awsapps.com/start","region":"us-west-2","accessToken":"sso-access-token-aoaAAA","expiresAt":%q}`,
		expires.UTC().Format(time.RFC3339))
}

const (
	ssoLegacy = "[profile corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-west-2\n" +
		"sso_account_id = 111122223333\nsso_role_name = Admin\n"
	ssoNamed = "[sso-session main]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-west-2\n" +
		"[profile corp]\nsso_session = main\nsso_account_id = 111122223333\nsso_role_name = Admin\n"
	deployer = "role_arn = arn:aws:iam::111122223333:role/Deployer\nrole_session_name = alice\n"
)

// container serves credentials as an ECS agent and as the instance metadata do.
func container(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := "box"
		switch {
		case r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			fmt.Fprint(w, "metadata-token")
			return
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/":
			fmt.Fprint(w, "the-role")
			return
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/the-role":
			user = "ec2"
		case r.URL.Path != "/container":
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":%q,"Token":%q,"Expiration":%q}`,
			authtest.KeyID(user), authtest.SecretOf(user), authtest.SessionOf(user), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// with merges environments.
func with(envs ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, env := range envs {
		for k, v := range env {
			all[k] = v
		}
	}
	return all
}

// BOX in a value is the address of a container's and an instance's endpoint, {home}
// the home folder.
func TestEachSourceOfCredentials(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	process := "[profile proc]\ncredential_process = cat {home}/process.json\n"
	web := map[string]string{
		"AWS_WEB_IDENTITY_TOKEN_FILE": "{home}/web-token", "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/Web", "AWS_ROLE_SESSION_NAME": "pod",
	}
	boxes := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "BOX/container"}
	instance := map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "BOX"}
	of := func(name string) map[string]string { return map[string]string{"AWS_PROFILE": name} }
	const user, role, assumed = "arn:aws:iam::111122223333:user/", "arn:aws:iam::111122223333:role/", "arn:aws:sts::111122223333:assumed-role/"
	for _, tt := range []struct {
		name    string
		env     map[string]string
		files   map[string]string
		arn     string
		source  string
		profile string
	}{
		{"environment", authtest.Env("env", false), nil, user + "env", "the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", ""},
		{"environment with a token", authtest.Env("envtoken", true), nil, user + "envtoken", "AWS_SESSION_TOKEN", ""},
		{"profile of AWS_PROFILE", of("dev"), map[string]string{".aws/credentials": "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"profile of AWS_DEFAULT_PROFILE", map[string]string{"AWS_DEFAULT_PROFILE": "dev"}, map[string]string{".aws/credentials": "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"profile with a token", of("dev"), map[string]string{".aws/credentials": "[dev]\n" + authtest.Profile("devtoken", true)}, user + "devtoken", "profile dev", "dev"},
		{"profile in the config file", of("dev"), map[string]string{".aws/config": "[profile dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"default profile", nil, map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("default", false)}, user + "default", "profile default", "default"},
		{"default profile with a token", nil, map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("deftoken", true)}, user + "deftoken", "profile default", "default"},
		{"files elsewhere", with(of("dev"), map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "{home}/keys"}), map[string]string{"keys": "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"credential_process", of("proc"), map[string]string{".aws/config": process, "process.json": authtest.ProcessJSON("proc", soon)}, user + "proc", "the credential_process of profile proc", "proc"},
		{"credential_process with spaces in quotes", of("proc"), map[string]string{
			".aws/config": "[profile proc]\ncredential_process = \"{home}/my tools/print\" \"{home}/process.json\"\n", "process.json": authtest.ProcessJSON("proc", soon),
			"my tools/print": "#!/bin/sh\ncat \"$1\"\n",
		}, user + "proc", "the credential_process of profile proc", "proc"},
		{"a name in quotes", of("my dev"), map[string]string{".aws/config": "[profile \"my dev\"]\n" + authtest.Profile("dev", false)}, user + "dev", `profile "my dev"`, "my dev"},
		{"a name in single quotes", of("my dev"), map[string]string{".aws/config": "[profile 'my dev']\n" + authtest.Profile("dev", false)}, user + "dev", `profile "my dev"`, "my dev"},
		{"~ in the path of a file", with(of("dev"), map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "~/keys"}), map[string]string{"keys": "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"a variable in the path of a file", with(of("dev"), map[string]string{"AWS_CONFIG_FILE": "$HOME/${AWS_PROFILE}.ini"}), map[string]string{"dev.ini": "[profile dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"assumed role", of("ops"), map[string]string{
			".aws/config":      "[profile ops]\n" + deployer + "source_profile = dev\n",
			".aws/credentials": "[dev]\n" + authtest.Profile("dev", false),
		}, assumed + "Deployer/alice", "profile ops, assuming " + role + "Deployer", "ops"},
		{"assumed role through credential_process", of("ops"), map[string]string{
			".aws/config": "[profile ops]\n" + deployer + "source_profile = proc\n" + process, "process.json": authtest.ProcessJSON("proc", soon),
		}, assumed + "Deployer/alice", "the credential_process of profile ops, assuming " + role + "Deployer", "ops"},
		{"assumed role of the container", with(of("ops"), boxes), map[string]string{
			".aws/config": "[profile ops]\n" + deployer + "credential_source = EcsContainer\n",
		}, assumed + "Deployer/alice", "the credential_source of profile ops, assuming " + role + "Deployer", "ops"},
		{"sso", of("corp"), map[string]string{".aws/config": ssoLegacy, ssoCache("https://corp.awsapps.com/start"): ssoToken(soon)},
			"role/AWSReservedSSO_Admin_", "the SSO login of profile corp", "corp"},
		{"sso session", of("corp"), map[string]string{".aws/config": ssoNamed, ssoCache("main"): ssoToken(soon)},
			"role/AWSReservedSSO_Admin_", "the SSO login of profile corp", "corp"},
		{"web identity", web, map[string]string{"web-token": "web-identity-token-eyJhbGciOi"}, assumed + "Web/pod", "the web identity that AWS_WEB_IDENTITY_TOKEN_FILE", ""},
		{"web identity of a profile", of("pod"), map[string]string{
			".aws/config": "[profile pod]\nrole_arn = " + role + "Web\nrole_session_name = pod\nweb_identity_token_file = {home}/web-token\n",
			"web-token":   "web-identity-token-eyJhbGciOi",
		}, assumed + "Web/pod", "the web identity of profile pod", "pod"},
		{"container", boxes, nil, user + "box", "the container's credentials endpoint", ""},
		{"instance", instance, nil, user + "ec2", "the instance metadata service", ""},

		// Which of two.
		{"environment before AWS_PROFILE", with(authtest.Env("env", false), of("dev")), map[string]string{".aws/credentials": "[dev]\n" + authtest.Profile("dev", false)}, user + "env", "the environment", ""},
		{"environment before a profile that does not exist", with(authtest.Env("env", false), of("nope")), nil, user + "env", "the environment", ""},
		{"environment before a file that is broken", authtest.Env("env", false), map[string]string{".aws/config": "[profile"}, user + "env", "the environment", ""},
		{"environment before web identity", with(authtest.Env("env", false), web), map[string]string{"web-token": "web-identity-token-eyJhbGciOi"}, user + "env", "the environment", ""},
		{"AWS_PROFILE before default", of("dev"), map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("default", false) + "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"AWS_PROFILE before AWS_DEFAULT_PROFILE", with(of("dev"), map[string]string{"AWS_DEFAULT_PROFILE": "default"}), map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("default", false) + "[dev]\n" + authtest.Profile("dev", false)}, user + "dev", "profile dev", "dev"},
		{"credentials file before config file", nil, map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("default", false), ".aws/config": "[default]\n" + authtest.Profile("dev", false)}, user + "default", "profile default", "default"},
		{"keys of the credentials file before a credential_process", of("proc"), map[string]string{
			".aws/credentials": "[proc]\n" + authtest.Profile("dev", false), ".aws/config": process, "process.json": authtest.ProcessJSON("proc", soon),
		}, user + "dev", "profile proc", "proc"},
		{"a credential_process before keys of the config file", of("proc"), map[string]string{
			".aws/config": process + authtest.Profile("dev", false), "process.json": authtest.ProcessJSON("proc", soon),
		}, user + "proc", "the credential_process of profile proc", "proc"},
		{"the same for the profile of a role", of("ops"), map[string]string{
			".aws/config": "[profile ops]\n" + deployer + "source_profile = proc\n" + process + authtest.Profile("dev", false), "process.json": authtest.ProcessJSON("proc", soon),
		}, assumed + "Deployer/alice", "the credential_process of profile ops, assuming " + role + "Deployer", "ops"},
		{"web identity of the environment before the default profile", web, map[string]string{"web-token": "web-identity-token-eyJhbGciOi", ".aws/credentials": "[default]\n" + authtest.Profile("default", false)}, assumed + "Web/pod", "the web identity", ""},
		{"default profile before container and instance", with(boxes, instance), map[string]string{".aws/credentials": "[default]\n" + authtest.Profile("default", false)}, user + "default", "profile default", "default"},
		{"container before instance", with(boxes, instance), nil, user + "box", "the container", ""},
		{"a profile without credentials, then the instance", with(of("plain"), instance), map[string]string{".aws/config": "[profile plain]\nregion = eu-west-1\n"}, user + "ec2", "the instance", ""},
		{"a region beside it", with(authtest.Env("env", false), map[string]string{"AWS_REGION": "eu-west-1"}), nil, user + "env", "the environment", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for name, text := range tt.files {
				m.write(t, name, strings.ReplaceAll(text, "{home}", m.home))
			}
			box := container(t)
			env := with(tt.env, map[string]string{whoVar: "1"})
			for k, v := range env {
				env[k] = strings.ReplaceAll(v, "BOX", box)
			}
			r := m.run(t, env)
			if r.Code != "" {
				t.Fatalf("Resolve: %s: %s (%s)", r.Code, r.Message, r.Hint)
			}
			if !strings.Contains(r.ARN, tt.arn) {
				t.Errorf("the credentials are those of %q, want %q", r.ARN, tt.arn)
			}
			if !strings.Contains(r.Found.Source, tt.source) || r.Found.Profile != tt.profile {
				t.Errorf("Found = %+v, want source %q of profile %q", r.Found, tt.source, tt.profile)
			}
			if id := r.Found.AccessKeyID; len(id) != len("AKIA…XXXX") || !strings.Contains(id, "…") {
				t.Errorf("the key is shown as %q, want a mask", id)
			}
		})
	}
}
