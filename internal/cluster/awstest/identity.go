package awstest

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
)

// principal is somebody who makes calls.
type principal struct {
	arn, userID string
	root        bool
	policies    []*policy
	key         Key
	expires     time.Time // of temporary credentials
}

func (a *Account) admit(p *principal, name string, temporary bool) Key {
	p.key = Key{AccessKeyID: "AKIA" + keyDigits(name), Secret: authtest.SecretOf(name), ARN: p.arn}
	if temporary {
		p.key.AccessKeyID = "ASIA" + keyDigits(name)
		p.key.SessionToken = authtest.SessionOf(name)
	}
	a.identities[p.key.AccessKeyID] = p
	return p.key
}

// keyDigits are those of the key of a name: always the same.
func keyDigits(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

// Root is the key of an administrator: it may do everything.
func (a *Account) Root() Key {
	defer a.locked()()
	name := "admin"
	if p, ok := a.identities["AKIA"+keyDigits(name)]; ok {
		return p.key
	}
	user := a.iam.user(a, name)
	return a.admit(&principal{arn: user.arn, userID: user.id, root: true}, name, false)
}

// AddUser adds a user of IAM with these policies, and returns a key of theirs. Without
// policies they may do nothing but ask who they are. It panics when a policy is one that
// this package would not evaluate as IAM does.
func (a *Account) AddUser(name string, policies ...string) Key {
	defer a.locked()()
	user := a.iam.user(a, name)
	return a.admit(&principal{arn: user.arn, userID: user.id, policies: mustParse(policies)}, name, false)
}

// AddSession adds temporary credentials of somebody who has taken on a role, as those of
// IAM Identity Center are.
func (a *Account) AddSession(role, session string, life time.Duration, policies ...string) Key {
	defer a.locked()()
	r := a.iam.roles[role]
	if r == nil {
		r = a.newRole(role, "/", "{}", nil)
		r.service = true // it was there before
	}
	p := &principal{arn: "arn:" + a.partition + ":sts::" + a.id + ":assumed-role/" + role + "/" + session, userID: r.id + ":" + session, policies: mustParse(policies)}
	p.expires = a.clock.now.Add(life)
	return a.admit(p, session, true)
}

func mustParse(texts []string) []*policy {
	var all []*policy
	for _, text := range texts {
		p, err := parsePolicy(text, false)
		if err != nil {
			panic(fmt.Sprintf("awstest: %v", err))
		}
		all = append(all, p)
	}
	return all
}

// Expire ends temporary credentials, and those of a user too, as if they were temporary.
func (a *Account) Expire(k Key) {
	defer a.locked()()
	a.identities[k.AccessKeyID].expires = a.clock.now
}

var stsService = &service{
	name: "sts", version: "2011-06-15", namespace: "https://sts.amazonaws.com/doc/2011-06-15/", protocol: query{}, errors: wordsQuery,
	operations: []operation{
		// No policy is asked: whoever has a key may know whose it is.
		{name: "GetCallerIdentity", do: func(c *call) (object, error) {
			return object{"Account": c.id, "Arn": c.who.arn, "UserId": c.who.userID}, nil
		}, on: func(*call) []string { return nil }},
	},
}
