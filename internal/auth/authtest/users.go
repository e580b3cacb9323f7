package authtest

import (
	"fmt"
	"strings"
	"time"
)

// The keys of users whose names are all that matters.

// KeyID is the access key id of a user.
func KeyID(user string) string { return ("AKIA" + strings.ToUpper(user) + "EXAMPLEEXAMPLE")[:20] }

// SecretOf is the secret of a user's key.
func SecretOf(user string) string { return "secret/of+" + user + "/wJalrXUtnFEMIK7MDENG" }

// SessionOf is the session token of a user whose key has one.
func SessionOf(user string) string { return "session-token-of-" + user + "-FwoGZXIvYXdzEXAMPLE" }

// User is the identity of a user with these keys.
func User(account, user string, withToken bool) Identity {
	id := Identity{
		AccessKeyID: KeyID(user), SecretAccessKey: SecretOf(user), ARN: "arn:aws:iam::" + account + ":user/" + user,
		UserID: "AIDA" + ("ABCDEFGHIJKLMNOP" + strings.ToUpper(user))[:16], Account: account,
	}
	if withToken {
		id.SessionToken = SessionOf(user)
	}
	return id
}

// Profile is the content of a user's profile in a credentials file.
func Profile(user string, withToken bool) string {
	text := fmt.Sprintf("aws_access_key_id = %s\naws_secret_access_key = %s\n", KeyID(user), SecretOf(user))
	if withToken {
		text += "aws_session_token = " + SessionOf(user) + "\n"
	}
	return text
}

// Env is a user's keys as environment variables.
func Env(user string, withToken bool) map[string]string {
	env := map[string]string{"AWS_ACCESS_KEY_ID": KeyID(user), "AWS_SECRET_ACCESS_KEY": SecretOf(user)}
	if withToken {
		env["AWS_SESSION_TOKEN"] = SessionOf(user)
	}
	return env
}

// ProcessJSON is what a credential_process says of a user's keys.
func ProcessJSON(user string, expires time.Time) string {
	return fmt.Sprintf(`{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q,"Expiration":%q}`,
		KeyID(user), SecretOf(user), SessionOf(user), expires.UTC().Format(time.RFC3339))
}
