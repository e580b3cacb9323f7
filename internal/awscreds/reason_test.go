package awscreds

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
)

// Each way in which credentials can be missing has its words. None of them shows a
// secret: run looks for those of every user.
func TestWhyThereAreNoCredentials(t *testing.T) {
	t.Parallel()
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)
	of := func(name string) map[string]string { return map[string]string{"AWS_PROFILE": name} }
	past := time.Now().Add(-time.Hour)
	two := map[string]string{".aws/credentials": "[dev]\n" + authtest.Profile("dev", false), ".aws/config": "[default]\nregion=eu-west-1\n[profile ops]\nregion=x\n[sso-session main]\n"}
	process := func(command string) map[string]string {
		return map[string]string{".aws/config": "[profile proc]\ncredential_process = " + command + "\n", "process.json": authtest.ProcessJSON("proc", past)}
	}
	web := map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "{home}/web-token", "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/Web"}
	for _, tt := range []struct {
		name    string
		env     map[string]string
		files   map[string]string
		code    string
		message []string
		hint    []string
		not     []string
	}{
		{
			"nothing at all", nil, nil, "auth.no_credentials",
			[]string{"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set", "profile default: it is neither in {home}/.aws/credentials nor in {home}/.aws/config", "AWS_EC2_METADATA_DISABLED is set", "container: neither", "web identity: "},
			[]string{"aws configure"}, nil,
		},
		{"no home", map[string]string{"HOME": ""}, nil, "auth.no_credentials", []string{"HOME is not set"}, nil, nil},
		{
			"profile that names no credentials", of("ops"), two, "auth.no_credentials",
			[]string{"profile ops: it exists and names no credentials"}, []string{"dev, default, ops"}, nil,
		},
		{
			"instance without a role", map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": empty.URL}, nil, "auth.no_credentials",
			[]string{"instance metadata: this instance has no role"}, nil, nil,
		},
		{
			"no instance", map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, nil, "auth.no_credentials",
			[]string{"instance metadata: nothing answered within 1s"}, nil, nil,
		},
		{"id without secret", map[string]string{"AWS_ACCESS_KEY_ID": authtest.KeyID("env")}, nil, "auth.incomplete_credentials", []string{"AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"}, []string{"set AWS_SECRET_ACCESS_KEY too"}, nil},
		{"secret without id", map[string]string{"AWS_SECRET_ACCESS_KEY": authtest.SecretOf("env")}, nil, "auth.incomplete_credentials", []string{"AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"}, []string{"set AWS_ACCESS_KEY_ID too"}, nil},
		{"half a pair beside a good profile", map[string]string{"AWS_ACCESS_KEY_ID": authtest.KeyID("env"), "AWS_PROFILE": "dev"}, two, "auth.incomplete_credentials", nil, nil, nil},
		{"half a pair in a profile", of("dev"), map[string]string{".aws/credentials": "[dev]\naws_secret_access_key = " + authtest.SecretOf("dev") + "\n"}, "auth.incomplete_credentials", []string{"profile dev has only one of"}, []string{"aws configure --profile dev"}, nil},
		{"profile that does not exist", of("nope"), two, "auth.profile_not_found", []string{"profile nope does not exist"}, []string{"dev, default, ops"}, []string{"main"}},
		{"source_profile that does not exist", of("x"), map[string]string{".aws/config": "[profile x]\n" + deployer + "source_profile = gone\n"}, "auth.profile_not_found", []string{"source_profile gone"}, nil, nil},
		{
			"keys and an SSO login", of("corp"), map[string]string{".aws/config": ssoNamed, ".aws/credentials": "[corp]\n" + authtest.Profile("dev", false), ssoCache("main"): ssoToken(time.Now().Add(time.Hour))},
			"auth.credentials_ambiguous", []string{"profile corp has both access keys and an SSO login"}, []string{"take one of them out"}, nil,
		},
		{
			"profiles that assume one another", of("a"), map[string]string{".aws/config": "[profile a]\n" + deployer + "source_profile = b\n[profile b]\n" + deployer + "source_profile = a\n"},
			"auth.profile_loop", []string{"the source_profile of profile a leads in a circle: a, b, a"}, []string{"access keys or a login"}, nil,
		},
		{"a byte order mark", nil, map[string]string{".aws/credentials": "\ufeff[default]\n" + authtest.Profile("dev", false)}, "auth.config_unreadable", []string{"{home}/.aws/credentials begins with a byte order mark"}, []string{"without a byte order mark"}, nil},
		{"file that is a folder", map[string]string{"AWS_CONFIG_FILE": "{home}"}, nil, "auth.config_unreadable", []string{"{home} cannot be read as a file of AWS profiles"}, nil, nil},
		{"sso session section that is missing", of("corp"), map[string]string{".aws/config": "[profile corp]\nsso_session = main\nsso_account_id = 111122223333\nsso_role_name = Admin\n"}, "auth.config_unreadable", []string{"profile corp cannot be used", "main"}, nil, nil},
		{"device code", of("x"), map[string]string{".aws/config": "[profile x]\n" + deployer + "mfa_serial = arn:aws:iam::111122223333:mfa/a\nsource_profile = dev\n[profile dev]\n" + authtest.Profile("dev", false)}, "auth.mfa_required", []string{"profile x"}, []string{"export-credentials --profile x"}, nil},
		{"sso that expired", of("corp"), map[string]string{".aws/config": ssoLegacy, ssoCache("https://corp.awsapps.com/start"): ssoToken(past)}, "auth.credentials_expired", []string{"the SSO login of profile corp has expired"}, []string{"`aws sso login --profile corp`"}, nil},
		{"sso session that expired", of("corp"), map[string]string{".aws/config": ssoNamed, ssoCache("main"): ssoToken(past)}, "auth.credentials_expired", nil, []string{"`aws sso login --profile corp`"}, nil},
		{"sso without a login", of("corp"), map[string]string{".aws/config": ssoNamed}, "auth.credentials_expired", nil, []string{"`aws sso login --profile corp`"}, nil},
		{"sso token that is revoked", of("corp"), map[string]string{".aws/config": ssoNamed, ssoCache("main"): strings.Replace(ssoToken(time.Now().Add(time.Hour)), "aoaAAA", "gone", 1)}, "auth.credentials_expired", nil, []string{"`aws sso login --profile corp`"}, nil},
		{"sso role that is not granted", of("corp"), map[string]string{".aws/config": strings.Replace(ssoNamed, "Admin", "Root", 1), ssoCache("main"): ssoToken(time.Now().Add(time.Hour))}, "auth.credentials_failed", []string{"ForbiddenException"}, nil, []string{"aws sso login"}},
		{"login session without a login", of("me"), map[string]string{".aws/config": "[profile me]\nlogin_session = arn:aws:iam::111122223333:user/me\nregion = us-west-2\n"}, "auth.credentials_expired", []string{"`aws login` session of profile me"}, []string{"`aws login --profile me`"}, nil},
		{"process that fails", of("proc"), process("echo " + authtest.ProcessJSON("proc", past) + "; echo vault is sealed >&2; exit 3"), "auth.credential_process_failed", []string{"profile proc failed", "exit status 3", "vault is sealed"}, nil, []string{authtest.KeyID("proc")}},
		{"process that says a secret", of("proc"), map[string]string{".aws/config": "[profile proc]\ncredential_process = echo " + authtest.SecretOf("dev") + " >&2; exit 1\n", ".aws/credentials": "[dev]\n" + authtest.Profile("dev", false)}, "auth.credential_process_failed", []string{"***"}, nil, nil},
		{"process that says much", of("proc"), process("head -c 100000 /dev/zero | tr '\\000' x >&2; echo the cause >&2; exit 1"), "auth.credential_process_failed", []string{"xxxthe cause"}, nil, []string{strings.Repeat("x", 1025)}},
		{"process that writes no credentials", of("proc"), process("echo " + authtest.SecretOf("proc")), "auth.credential_process_failed", []string{"it wrote nothing that credentials can be read from"}, nil, nil},
		{"process that does not exist", of("proc"), process("/no/such/program"), "auth.credential_process_failed", []string{"exit status 127"}, nil, nil},
		{"process behind a role", of("ops"), map[string]string{".aws/config": "[profile ops]\n" + deployer + "source_profile = proc\n[profile proc]\ncredential_process = echo sealed >&2; exit 4\n"}, "auth.credential_process_failed", []string{"sealed", "exit status 4"}, nil, nil},
		{"process with old credentials", of("proc"), process("cat {home}/process.json"), "auth.credentials_expired", []string{"the credential_process of profile proc gave credentials that expired at"}, nil, nil},
		{"role that may not be assumed", of("ops"), map[string]string{".aws/config": "[profile ops]\nrole_arn = arn:aws:iam::111122223333:role/Other\nsource_profile = dev\n[profile dev]\n" + authtest.Profile("dev", false)}, "auth.credentials_failed", []string{"assuming arn:aws:iam::111122223333:role/Other", "AccessDenied"}, []string{"--profile ops"}, nil},
		{"web identity without a file", web, nil, "auth.credentials_failed", []string{"the web identity", "cannot be read"}, nil, nil},
		{"web identity that is refused", web, map[string]string{"web-token": "another"}, "auth.credentials_failed", []string{"InvalidIdentityToken"}, nil, nil},
		{"container that is not there", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x"}, nil, "auth.credentials_failed", []string{"the container's credentials endpoint gave no credentials"}, nil, nil},
		{"key id that is none", map[string]string{"AWS_ACCESS_KEY_ID": "my key", "AWS_SECRET_ACCESS_KEY": authtest.SecretOf("env")}, nil, "auth.credentials_malformed", []string{"an access key id that has not the form"}, nil, []string{"my key"}},
		{"token that is none", with(authtest.Env("env", false), map[string]string{"AWS_SESSION_TOKEN": "a\nb: c"}), nil, "auth.credentials_malformed", []string{"a session token"}, nil, nil},
		{"token that is too long", with(authtest.Env("env", false), map[string]string{"AWS_SESSION_TOKEN": strings.Repeat("x", 8193)}), nil, "auth.credentials_malformed", nil, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for name, text := range tt.files {
				m.write(t, name, strings.ReplaceAll(text, "{home}", m.home))
			}
			r := m.run(t, with(map[string]string{"AWS_MAX_ATTEMPTS": "1"}, tt.env))
			if r.Code != tt.code {
				t.Fatalf("Resolve: code %q (%s; %s), want %q", r.Code, r.Message, r.Hint, tt.code)
			}
			for _, want := range tt.message {
				if want = strings.ReplaceAll(want, "{home}", m.home); !strings.Contains(r.Message, want) {
					t.Errorf("Resolve: %q, want %q in it", r.Message, want)
				}
			}
			for _, want := range tt.hint {
				if !strings.Contains(r.Hint, want) {
					t.Errorf("Resolve: hint %q, want %q in it", r.Hint, want)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(r.Message+r.Hint+r.Dump, not) {
					t.Errorf("Resolve: %s (%s), with %q in it", r.Message, r.Hint, not)
				}
			}
		})
	}
}

// A process that hangs, and leaves a grandchild with its output, ends the search
// when the patience does.
func TestCredentialsThatDoNotCome(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, ".aws/config", "[profile ops]\n"+deployer+"source_profile = proc\n[profile proc]\ncredential_process = sleep 300; true\n")
	r := m.run(t, map[string]string{"AWS_PROFILE": "ops", patienceVar: "300ms"})
	if r.Code != "auth.credentials_timeout" || !strings.Contains(r.Message, "the credential_process of profile ops") {
		t.Errorf("Resolve: %s: %s, want auth.credentials_timeout", r.Code, r.Message)
	}
}
