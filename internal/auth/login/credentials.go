package login

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// resolveTimeout bounds the search for credentials, with whatever a
// credential_process asks the user.
const resolveTimeout = 20 * time.Second

// fallbackRegion is where an assumed role is fetched when neither the user has
// configured a region nor a challenge named one.
const fallbackRegion = "us-east-1"

// resolve finds credentials as the default chain of the SDK does: a pair in the
// environment, then a web identity that the environment names, then the profile of
// AWS_PROFILE or the profile default with whatever it says (keys, a role to
// assume, SSO, a credential_process, …), then a container's, then the instance's.
//
// A pair in the environment is all that is needed: no file is read for it, so that
// a broken one is in nobody's way. Half a pair is an error, never a fall through
// to an identity that the user did not mean. region is where AWS is asked when the
// user has configured no region.
func (l *Login) resolve(ctx context.Context, region string) (keys, error) {
	id, secretKey := l.env("AWS_ACCESS_KEY_ID"), l.env("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secretKey != "":
		return l.checked(l.fromEnvironment(id, secretKey), aws.Credentials{})
	case (l.getenv("AWS_ACCESS_KEY_ID") == "") != (l.getenv("AWS_SECRET_ACCESS_KEY") == ""):
		return keys{}, halfAPair(id != "")
	}
	limited, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	meta := &metadata{}
	cfg, err := config.LoadDefaultConfig(limited,
		config.WithDefaultRegion(region),
		// The mode "auto" would ask the instance metadata for a region.
		config.WithDefaultsMode(aws.DefaultsModeStandard),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = meta }),
		config.WithProcessCredentialOptions(func(o *processcreds.Options) { o.Timeout = l.patience }))
	if err != nil {
		return keys{}, l.unusable(limited, err)
	}
	meta.use(cfg)
	s := l.describe(cfg)
	said := &tail{limit: maxHeard}
	if s.process() {
		cfg.Credentials = throughProcess(cfg, s.shared, l.patience, said)
	}
	creds, err := cfg.Credentials.Retrieve(limited)
	switch {
	case ctx.Err() != nil:
		return keys{}, fmt.Errorf("looking for AWS credentials: %w", ctx.Err())
	case limited.Err() != nil:
		return keys{}, unproven("auth.credentials_timeout", "%s gave no credentials within %s", s.words(), l.patience).
			WithHint("see whether %s answers", s.look())
	case err != nil:
		return keys{}, l.unavailable(err, s, meta, said)
	}
	if !s.process() {
		creds.CanExpire = false // fetched now, or brought forward by the cache of the SDK
	}
	return l.checked(keys{
		Found: Found{Source: s.words(), Profile: s.profile, Region: cfg.Region},
		ID:    creds.AccessKeyID, Secret: hide(creds.SecretAccessKey), Token: hide(creds.SessionToken),
	}, creds)
}

// fromEnvironment is the pair in the environment.
func (l *Login) fromEnvironment(id, secretKey string) keys {
	names := "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	token := l.getenv("AWS_SESSION_TOKEN")
	if token != "" {
		names = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
	}
	region := l.getenv("AWS_REGION")
	if region == "" {
		region = l.getenv("AWS_DEFAULT_REGION")
	}
	return keys{
		Found: Found{Source: "the environment variables " + names, Region: region},
		ID:    id, Secret: hide(secretKey), Token: hide(token),
	}
}

// checked refuses credentials that no operator can accept. creds carries their
// expiry, if they have one.
func (l *Login) checked(k keys, creds aws.Credentials) (keys, error) {
	refuse := func(what string) error {
		return unproven("auth.credentials_malformed", "%s gave %s that has not the form of one", k.Found.Source, what).
			WithHint("copy the credentials again, without quotes and spaces")
	}
	switch {
	case !keyIDShape().MatchString(k.ID):
		return keys{}, refuse("an access key id")
	case !isSecurityToken(k.Token.text()):
		return keys{}, refuse("a session token")
	case creds.CanExpire && !creds.Expires.After(l.now()):
		return keys{}, unproven("auth.credentials_expired", "%s gave credentials that expired at %s",
			k.Found.Source, creds.Expires.UTC().Format(time.RFC3339)).WithHint("get new ones and try again")
	}
	k.Found.AccessKeyID = maskKeyID(k.ID)
	return k, nil
}

// source is what the SDK will ask.
type source struct {
	kinds   []aws.CredentialSource // in the order of the SDK, the origin last but for roles
	shared  *config.SharedConfig   // the profile; nil when there is none
	profile string                 // its name; empty when it is not what is asked
	role    string                 // assumed with what the rest gives
}

// describe says what the chain of cfg consists of.
func (l *Login) describe(cfg aws.Config) source {
	var s source
	if p, ok := cfg.Credentials.(aws.CredentialProviderSource); ok {
		s.kinds = p.ProviderSources()
	}
	for _, c := range cfg.ConfigSources {
		if shared, ok := c.(config.SharedConfig); ok {
			s.shared = &shared
		}
	}
	if s.has(aws.CredentialSourceEnvVarsSTSWebIDToken) || s.chainOnly() {
		return s
	}
	s.profile = l.profile()
	if s.shared != nil {
		s.role = s.shared.RoleARN
	}
	return s
}

func (s source) has(kinds ...aws.CredentialSource) bool {
	for _, k := range s.kinds {
		for _, want := range kinds {
			if k == want {
				return true
			}
		}
	}
	return false
}

// chainOnly reports whether nothing but the end of the chain is left: a
// container's or an instance's credentials that no profile names.
func (s source) chainOnly() bool {
	return s.has(aws.CredentialSourceHTTP, aws.CredentialSourceIMDS) &&
		!s.has(aws.CredentialSourceProfileNamedProvider, aws.CredentialSourceProfileSourceProfile)
}

// last reports whether the instance metadata is asked because nothing else is
// configured.
func (s source) last() bool { return s.chainOnly() && s.has(aws.CredentialSourceIMDS) }

func (s source) process() bool {
	return s.has(aws.CredentialSourceProfileProcess) && s.shared != nil
}

func (s source) sso() bool {
	return s.has(aws.CredentialSourceProfileSSO, aws.CredentialSourceSSO, aws.CredentialSourceProfileSSOLegacy, aws.CredentialSourceSSOLegacy)
}

// words names the source for people.
func (s source) words() string {
	of := "profile " + quoteName(s.profile)
	origin := of
	switch {
	case s.has(aws.CredentialSourceEnvVarsSTSWebIDToken):
		return "the web identity that AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN name"
	case s.has(aws.CredentialSourceProfileNamedProvider):
		origin = "the credential_source of " + of
	case s.has(aws.CredentialSourceProfileSTSWebIDToken):
		origin = "the web identity of " + of
	case s.sso():
		origin = "the SSO login of " + of
	case s.has(aws.CredentialSourceProfileLogin):
		origin = "the `aws login` session of " + of
	case s.has(aws.CredentialSourceProfileProcess):
		origin = "the credential_process of " + of
	case s.has(aws.CredentialSourceHTTP):
		return "the container's credentials endpoint"
	case s.has(aws.CredentialSourceIMDS):
		return "the instance metadata service"
	}
	if s.role != "" {
		origin += ", assuming " + quoteName(s.role)
	}
	return origin
}

// look is the command with which a user sees for themselves.
func (s source) look() string {
	if s.profile == "" || s.profile == defaultProfile {
		return "`aws sts get-caller-identity`"
	}
	return "`aws sts get-caller-identity --profile " + shellWord(s.profile) + "`"
}

const defaultProfile = "default"

// profile is the name of the profile that is in force, by the SDK's rule.
func (l *Login) profile() string {
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if p := l.getenv(name); p != "" {
			return p
		}
	}
	return defaultProfile
}

// quoteName is a name out of a file, in quotes where it is no plain word.
func quoteName(name string) string {
	if len(name) <= 128 && name == shellWord(name) {
		return name
	}
	if len(name) > 128 {
		name = name[:128] + "…"
	}
	return fmt.Sprintf("%q", name)
}

func halfAPair(haveID bool) error {
	have, missing := "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
	if !haveID {
		have, missing = missing, have
	}
	return unproven("auth.incomplete_credentials", "the environment has half a pair of credentials: %s is set and %s is not", have, missing).
		WithHint("set %s too, or unset %s to use a profile", missing, have)
}

// profiles are the names of the profiles that exist, in the order of their files.
func (l *Login) profiles() []string {
	var names []string
	for i, path := range l.profileFiles() {
		data, err := readBounded(path, maxAWSFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			head, _, closed := strings.Cut(line, "]")
			if !closed || !strings.HasPrefix(head, "[") {
				continue
			}
			name := strings.TrimSpace(head[1:])
			rest, prefixed := strings.CutPrefix(name, "profile ")
			if isConfig := i == 1; prefixed != isConfig && (!isConfig || name != defaultProfile) {
				continue
			}
			names = appendNew(names, strings.TrimSpace(rest))
		}
	}
	return names
}

func appendNew(names []string, name string) []string {
	for _, n := range names {
		if n == name {
			return names
		}
	}
	return append(names, name)
}
