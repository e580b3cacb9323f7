package awscreds

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// order brings a profile that names credentials in two ways into the order of the AWS
// command line and of the Python client, where the SDK has another: it prefers keys to
// everything, and they only prefer those of the credentials file, and to a
// credential_process only. Two clients of one user must not be two people. What the SDK
// cannot be made to do is refused.
func (s *source) order(r Resolver) error {
	at := s.origin()
	if at == nil || !at.Credentials.HasKeys() || s.profile == "" {
		return nil
	}
	var other string
	switch {
	case at.WebIdentityTokenFile != "":
		other = "a web_identity_token_file"
	case at.CredentialSource != "":
		other = "a credential_source"
	case at.SSOSession != nil || at.SSOStartURL != "":
		other = "an SSO login"
	case at.CredentialProcess != "" && at.Credentials.Source != keysFrom+r.profileFiles()[0]:
		s.kinds = []aws.CredentialSource{aws.CredentialSourceProfileProcess}
	}
	if other == "" {
		return nil
	}
	return unproven("auth.credentials_ambiguous", "profile %s has both access keys and %s, of which the AWS command line uses the second and other programs the first",
		quoteName(at.Profile), other).WithHint("take one of them out of the profile, or put the keys into a profile of their own")
}

// keysFrom is what the SDK writes before the file that keys are from.
const keysFrom = "SharedConfigCredentials: "

// origin is the profile at the end of the chain of source_profile; nil when there is none.
func (s *source) origin() *config.SharedConfig {
	at := s.shared
	for at != nil && at.Source != nil {
		at = at.Source
	}
	return at
}
