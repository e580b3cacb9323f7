package awscreds

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The texts of the SDK are not passed on as they are: they quote the output of a
// credential_process, lines of the files of profiles, and answers of AWS.

// CodeNone is the code of the fault that there are no credentials anywhere.
const CodeNone = "auth.no_credentials"

const (
	maxShownProfiles = 20
	maxSDKText       = 300
)

// unusable says why the configuration of profiles cannot be used.
func (r Resolver) unusable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("looking for AWS credentials: %w", ctx.Err())
	}
	var (
		missing    config.SharedConfigProfileNotExistError
		unreadable config.SharedConfigLoadError
		role       config.SharedConfigAssumeRoleError
		mfa        config.AssumeRoleTokenProviderNotSetError
	)
	profile := quoteName(r.profile())
	switch {
	case errors.As(err, &mfa):
		return unproven("auth.mfa_required", "profile %s assumes a role that needs an MFA code, which this program does not prompt for", profile).
			WithHint("`eval \"$(aws configure export-credentials --profile %s --format env)\"` asks for it and sets the environment", shellWord(r.profile()))
	case errors.As(err, &role):
		if way := r.circle(r.profile()); way != nil {
			for i, name := range way {
				way[i] = quoteName(name)
			}
			return unproven("auth.profile_loop", "the source_profile of profile %s leads in a circle: %s", profile, strings.Join(way, ", ")).
				WithHint("let the source_profile of the last name a profile with access keys or a login")
		}
		return unproven("auth.profile_not_found", "profile %s assumes a role with source_profile %s, which does not exist or has no credentials",
			profile, quoteName(role.Profile)).WithHint("%s", r.existing())
	case errors.As(err, &missing):
		return unproven("auth.profile_not_found", "the AWS profile %s does not exist", quoteName(missing.Profile)).WithHint("%s", r.existing())
	case errors.As(err, &unreadable):
		return unproven("auth.config_unreadable", "%s cannot be read as a file of AWS profiles", r.clean(unreadable.Filename, maxSDKText)).
			WithHint("correct it; `aws configure list` reads the same file")
	case strings.Contains(err.Error(), "partial credentials"):
		return unproven("auth.incomplete_credentials", "profile %s has only one of aws_access_key_id and aws_secret_access_key", profile).
			WithHint("`aws configure --profile %s` sets both", shellWord(r.profile()))
	}
	return unproven("auth.config_unreadable", "profile %s cannot be used: %s", profile, r.clean(err.Error(), maxSDKText)).
		WithHint("`aws configure list --profile %s` reads the same files", shellWord(r.profile()))
}

// existing says which profiles there are.
func (r Resolver) existing() string {
	names := r.profiles()
	if len(names) == 0 {
		return "there are no profiles; `aws configure` makes one"
	}
	more := ""
	if len(names) > maxShownProfiles {
		names, more = names[:maxShownProfiles], ", …"
	}
	for i, n := range names {
		names[i] = quoteName(n)
	}
	return "set AWS_PROFILE to one that exists: " + strings.Join(names, ", ") + more
}

// unavailable says why a source gave no credentials.
func (r Resolver) unavailable(err error, s source, meta *metadata, said *tail) error {
	var (
		api     smithy.APIError
		process *processcreds.ProviderError
		send    *smithyhttp.RequestSendError
	)
	switch {
	case s.last():
		return r.none(err, meta)
	case errors.As(err, &process):
		return r.processFailed(process, s, said)
	case s.sso() && ssoExpired(err):
		return unproven("auth.credentials_expired", "%s has expired, or there was none", s.words()).
			WithHint("`aws sso login%s`", profileFlag(s.profile))
	case s.has(aws.CredentialSourceProfileLogin) && !errors.As(err, &send):
		return unproven("auth.credentials_expired", "%s has expired, or there was none", s.words()).
			WithHint("`aws login%s`", profileFlag(s.profile))
	case errors.As(err, &api):
		return unproven("auth.credentials_failed", "%s gave no credentials: AWS refused with %s", s.words(), r.clean(api.ErrorCode(), maxSDKText)).
			WithHint("see what %s says", s.look())
	case errors.As(err, &send):
		return unproven("auth.credentials_failed", "%s gave no credentials: AWS cannot be reached from here", s.words()).
			WithHint("check the network, the region and AWS_ENDPOINT_URL*; see what %s says", s.look())
	case s.has(aws.CredentialSourceEnvVarsSTSWebIDToken, aws.CredentialSourceProfileSTSWebIDToken):
		return unproven("auth.credentials_failed", "%s gave no credentials: the file of its token cannot be read", s.words()).
			WithHint("check that the file exists and is readable")
	}
	return unproven("auth.credentials_failed", "%s gave no credentials", s.words()).WithHint("see what %s says", s.look())
}

func profileFlag(profile string) string {
	if profile == "" || profile == defaultProfile {
		return ""
	}
	return " --profile " + shellWord(profile)
}

// ssoExpired reports whether a login would help. Without an answer of AWS the
// cached token was missing, expired or damaged; with one it counts what AWS says.
func ssoExpired(err error) bool {
	var (
		api  smithy.APIError
		send *smithyhttp.RequestSendError
	)
	switch {
	case errors.As(err, &api):
		switch api.ErrorCode() {
		case "UnauthorizedException", "InvalidGrantException", "ExpiredTokenException", "UnauthorizedClientException", "InvalidClientException":
			return true
		}
		return false
	case errors.As(err, &send):
		return false
	}
	return true
}

// processFailed repeats what a credential_process said on stderr. What it wrote to
// stdout may be credentials.
func (r Resolver) processFailed(err *processcreds.ProviderError, s source, said *tail) error {
	var exit *exec.ExitError
	what := "it wrote nothing that credentials can be read from"
	if errors.As(err, &exit) {
		what = exit.ProcessState.String()
	}
	if text := r.clean(string(said.data), maxStderr); text != "" {
		what += ": " + text
	}
	return unproven("auth.credential_process_failed", "%s failed: %s", s.words(), what).
		WithHint("run the command of credential_process by hand, or see what %s says", s.look())
}

// none lists the chain that was tried, each part with why it gave nothing.
func (r Resolver) none(err error, meta *metadata) error {
	lines := []string{
		"no AWS credentials were found:",
		"  environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
		"  web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set",
		"  profile " + quoteName(r.profile()) + ": " + r.whyNoProfile(),
		"  container: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
		"  instance metadata: " + whyNoMetadata(err, meta),
	}
	hint := "`aws configure` makes the profile default"
	if names := r.profiles(); len(names) > 0 {
		hint = r.existing()
	}
	return unproven(CodeNone, "%s", strings.Join(lines, "\n")).
		WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or %s", hint)
}

func (r Resolver) whyNoProfile() string {
	for _, name := range r.profiles() {
		if name == r.profile() {
			return "it exists and names no credentials"
		}
	}
	files := r.profileFiles()
	if files[0] == "" || files[1] == "" {
		return "HOME is not set, so ~/.aws cannot be found"
	}
	return fmt.Sprintf("it is neither in %s nor in %s", r.clean(files[0], maxSDKText), r.clean(files[1], maxSDKText))
}

func whyNoMetadata(err error, meta *metadata) string {
	var answer *smithyhttp.ResponseError
	switch {
	case meta.disabled:
		return "AWS_EC2_METADATA_DISABLED is set"
	case errors.As(err, &answer) && answer.HTTPStatusCode() == 404:
		return "this instance has no role"
	case errors.As(err, &answer):
		return fmt.Sprintf("it answered with status %d", answer.HTTPStatusCode())
	}
	return fmt.Sprintf("nothing answered within %s; this is not an EC2 instance, or its metadata service cannot be reached", metadataTimeout)
}
