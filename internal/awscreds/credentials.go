// Package awscreds finds the AWS credentials of whoever runs the program, as the AWS
// command line does, and explains what it found or why it found nothing.
//
// It promises that half a pair of credentials never makes it fall through to an identity
// that the user did not mean, that a search ends when its patience does, and that no
// error and no formatted value of it contains a secret.
//
// It must not know what the credentials are for.
package awscreds

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// DefaultPatience is how long a search may take, with whatever a credential_process
// asks the user.
const DefaultPatience = 20 * time.Second

// fallbackRegion is where a role is assumed when nobody has named a region.
const fallbackRegion = "us-east-1"

// Resolver finds credentials. Its zero value is that of a program.
type Resolver struct {
	// Getenv is the environment; nil is os.Getenv, and in a program nothing else will
	// do: the SDK, which reads profiles, does not ask anybody else.
	Getenv func(string) string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Patience is how long a search may take; 0 is DefaultPatience.
	Patience time.Duration
}

func (r Resolver) withDefaults() Resolver {
	if r.Getenv == nil {
		r.Getenv = os.Getenv
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Patience == 0 {
		r.Patience = DefaultPatience
	}
	return r
}

// Credentials are what requests to AWS are signed with.
type Credentials struct {
	Found  Found
	ID     string
	Secret Secret
	Token  Secret // of temporary credentials
}

// Found says which credentials they are and where they are from, for people.
type Found struct {
	Source      string // in words, such as "profile dev"
	AccessKeyID string // masked: first and last four characters
	Profile     string // that they are from; empty when they are from no profile
	Region      string // that the user has configured
}

// Look is the command with which a user sees for themselves, in backticks.
func (f Found) Look() string { return look(f.Profile) }

// Resolve finds credentials as the AWS command line does: a pair in the
// environment, then a web identity that the environment names, then the profile of
// AWS_PROFILE or the profile default with whatever it says (keys, a role to
// assume, SSO, a credential_process, …), then a container's, then the instance's.
//
// A pair in the environment is all that is needed: no file is read for it, so that
// a broken one is in nobody's way. Half a pair is an error, never a fall through
// to an identity that the user did not mean. region is where AWS is asked when the
// user has configured no region; empty is us-east-1.
func (r Resolver) Resolve(ctx context.Context, region string) (Credentials, error) {
	r = r.withDefaults()
	if region == "" {
		region = fallbackRegion
	}
	id, secretKey := r.env("AWS_ACCESS_KEY_ID"), r.env("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secretKey != "":
		return r.checked(r.fromEnvironment(id, secretKey), aws.Credentials{})
	case (r.Getenv("AWS_ACCESS_KEY_ID") == "") != (r.Getenv("AWS_SECRET_ACCESS_KEY") == ""):
		return Credentials{}, halfAPair(id != "")
	}
	limited, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	if err := r.readable(); err != nil {
		return Credentials{}, err
	}
	meta := &metadata{}
	options := append(r.asTheCommandLine(),
		config.WithDefaultRegion(region),
		// The mode "auto" would ask the instance metadata for a region.
		config.WithDefaultsMode(aws.DefaultsModeStandard),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = meta }),
		config.WithProcessCredentialOptions(func(o *processcreds.Options) { o.Timeout = r.Patience }))
	cfg, err := config.LoadDefaultConfig(limited, options...)
	if err != nil {
		return Credentials{}, r.unusable(limited, err)
	}
	meta.use(cfg)
	s := r.describe(cfg)
	if err := s.order(r); err != nil {
		return Credentials{}, err
	}
	said := &tail{limit: maxHeard}
	if s.process() {
		cfg.Credentials = r.throughProcess(cfg, s.shared, said)
	}
	creds, err := cfg.Credentials.Retrieve(limited)
	switch {
	case ctx.Err() != nil:
		return Credentials{}, fmt.Errorf("looking for AWS credentials: %w", ctx.Err())
	case limited.Err() != nil:
		return Credentials{}, unproven("auth.credentials_timeout", "%s gave no credentials within %s", s.words(), r.Patience).
			WithHint("see whether %s answers", s.look())
	case err != nil:
		return Credentials{}, r.unavailable(err, s, meta, said)
	}
	if !s.process() {
		creds.CanExpire = false // fetched now, or brought forward by the cache of the SDK
	}
	return r.checked(Credentials{
		Found: Found{Source: s.words(), Profile: s.profile, Region: cfg.Region},
		ID:    creds.AccessKeyID, Secret: Hide(creds.SecretAccessKey), Token: Hide(creds.SessionToken),
	}, creds)
}

// asTheCommandLine has the SDK read files and names of profiles as the AWS command line
// does.
func (r Resolver) asTheCommandLine() []func(*config.LoadOptions) error {
	files := r.profileFiles()
	var options []func(*config.LoadOptions) error
	if r.Getenv("AWS_SHARED_CREDENTIALS_FILE") != "" {
		options = append(options, config.WithSharedCredentialsFiles(files[:1]))
	}
	if r.Getenv("AWS_CONFIG_FILE") != "" {
		options = append(options, config.WithSharedConfigFiles(files[1:]))
	}
	if s := r.section(r.profile()); s != nil && s.spelled != s.name {
		options = append(options, config.WithSharedConfigProfile(s.spelled))
	}
	return options
}

// fromEnvironment is the pair in the environment.
func (r Resolver) fromEnvironment(id, secretKey string) Credentials {
	names := "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	token := r.Getenv("AWS_SESSION_TOKEN")
	if token != "" {
		names = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
	}
	region := r.Getenv("AWS_REGION")
	if region == "" {
		region = r.Getenv("AWS_DEFAULT_REGION")
	}
	return Credentials{
		Found: Found{Source: "the environment variables " + names, Region: region},
		ID:    id, Secret: Hide(secretKey), Token: Hide(token),
	}
}

// checked refuses credentials that are none by their form. creds carries their
// expiry, if they have one.
func (r Resolver) checked(k Credentials, creds aws.Credentials) (Credentials, error) {
	refuse := func(what string) error {
		return unproven("auth.credentials_malformed", "%s gave %s that has not the form of one", k.Found.Source, what).
			WithHint("copy the credentials again, without quotes and spaces")
	}
	switch {
	case !keyIDShape().MatchString(k.ID):
		return Credentials{}, refuse("an access key id")
	case !isSecurityToken(k.Token.Text()):
		return Credentials{}, refuse("a session token")
	case creds.CanExpire && !creds.Expires.After(r.Now()):
		return Credentials{}, unproven("auth.credentials_expired", "%s gave credentials that expired at %s",
			k.Found.Source, creds.Expires.UTC().Format(time.RFC3339)).WithHint("get new ones and try again")
	}
	k.Found.AccessKeyID = MaskID(k.ID)
	return k, nil
}

// What AWS's keys look like. Whoever is shown others refuses them in words that do not
// help.
var keyIDShape = auth.Pattern(`^[A-Z0-9]{16,128}$`)

// isSecurityToken reports whether s can stand in a header, and in an auth.Proof.
func isSecurityToken(s string) bool {
	return len(s) <= auth.MaxSecurityToken && strings.IndexFunc(s, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

// source is what the SDK will ask.
type source struct {
	kinds   []aws.CredentialSource // in the order of the SDK, the origin last but for roles
	shared  *config.SharedConfig   // the profile; nil when there is none
	profile string                 // its name; empty when it is not what is asked
	role    string                 // assumed with what the rest gives
}

// describe says what the chain of cfg consists of.
func (r Resolver) describe(cfg aws.Config) source {
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
	s.profile = r.profile()
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
	if s.profile == defaultProfile {
		return look("")
	}
	return look(s.profile)
}

func look(profile string) string {
	if profile == "" {
		return "`aws sts get-caller-identity`"
	}
	return "`aws sts get-caller-identity --profile " + shellWord(profile) + "`"
}

const defaultProfile = "default"

// profile is the name of the profile that is in force, by the SDK's rule.
func (r Resolver) profile() string {
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if p := r.Getenv(name); p != "" {
			return p
		}
	}
	return defaultProfile
}

func halfAPair(haveID bool) error {
	have, missing := "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
	if !haveID {
		have, missing = missing, have
	}
	return unproven("auth.incomplete_credentials", "the environment has half a pair of credentials: %s is set and %s is not", have, missing).
		WithHint("set %s too, or unset %s to use a profile", missing, have)
}

// unproven is a fault about the caller's own credentials.
func unproven(code, format string, args ...any) *fault.Fault {
	return fault.New(fault.Unproven, code, format, args...)
}
