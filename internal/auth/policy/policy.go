// Package policy decides by Cedar what a proven principal may do: by the default
// policy, everything within its own account; by a policy file, what that permits.
//
// It promises that a file is taken only when every policy of it fits the schema
// (cortex.cedarschema); that a file which is bad after a change leaves the one
// before it in force; that no file lets in a principal of another account or
// partition, or a role of the platform itself; and that the session name of an
// assumed role is in nothing that a policy can see.
//
// It must not prove who somebody is, write the audit, or know any other source of
// decisions: what it is asked is an auth.Query and nothing else.
package policy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// The ids of what no file says. No policy of a file may have one of them.
const (
	IDDefault       = "default"        // permits everything to everybody of the account
	IDAccount       = "account"        // forbids everything to everybody else
	IDPlatformRoles = "platform-roles" // forbids everything to Config.PlatformRoles
)

var ourIDs = []string{IDDefault, IDAccount, IDPlatformRoles}

// defaultPolicy is in force where no file is.
const defaultPolicy = `@id("default") permit (principal, action, resource);`

// Config says for whom it decides. Account, Partition and Environment are required.
type Config struct {
	Account     string // 12 digits; principals of any other may do nothing
	Partition   string // aws, aws-cn, …
	Environment string // the name of the cluster, for a Resource that names none

	// PlatformRoles are the ARNs of roles that may never manage anything: those of
	// the nodes and of the pods, in which the containers of users run.
	PlatformRoles []string

	File string       // with the policies; "" is the default policy
	Log  *slog.Logger // nil: nowhere
}

// Authorizer implements auth.Authorizer.
type Authorizer struct {
	cfg      Config
	iam, sts string // how canonical ARNs of the account begin
	platform map[string]bool
	force    atomic.Pointer[force]
	file     watched // of Run alone

	allowed, denied, reloads, failures atomic.Uint64
}

var _ auth.Authorizer = (*Authorizer)(nil)

// force is what is in force. It is never changed, only replaced.
type force struct {
	*snapshot
	bad string // why the file as it stands now is not what is in force
}

// New reads the policy file and starts nothing. A file that is not valid is one
// fault with all problems.
func New(cfg Config) (*Authorizer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	begin := "arn:" + cfg.Partition + ":%s::" + cfg.Account + ":"
	a := &Authorizer{
		cfg: cfg, platform: map[string]bool{},
		iam: fmt.Sprintf(begin, "iam"), sts: fmt.Sprintf(begin, "sts"),
		file: watched{path: cfg.File},
	}
	if root, err := auth.ParseARN(a.iam + "root"); err != nil || root.Account != cfg.Account {
		return nil, fmt.Errorf("deciding for account %q of partition %q: %w", cfg.Account, cfg.Partition, err)
	}
	if cfg.Environment == "" {
		return nil, fmt.Errorf("deciding for account %s: the environment has no name", cfg.Account)
	}
	for _, arn := range cfg.PlatformRoles {
		p, err := auth.ParseARN(arn)
		if err != nil {
			return nil, fmt.Errorf("platform role %q: %w", arn, err)
		}
		if p.Type != auth.Role {
			return nil, fmt.Errorf("platform role %q: it is not a role", arn)
		}
		a.platform[p.ARN] = true
	}
	s, err := a.first()
	if err != nil {
		return nil, err
	}
	a.force.Store(&force{snapshot: s})
	return a, nil
}

func (a *Authorizer) first() (*snapshot, error) {
	if a.cfg.File == "" {
		return load("", []byte(defaultPolicy))
	}
	data, err := a.file.read()
	if err != nil {
		return nil, fault.New(fault.Invalid, codeUnreadable, "reading the policy: %w", err).
			WithHint("a policy file is text in Cedar; see `cortex policy schema`")
	}
	s, err := load(a.cfg.File, data)
	if err == nil {
		a.file.took(data)
	}
	return s, err
}

// Authorize implements auth.Authorizer. Policies are in the order of their ids.
func (a *Authorizer) Authorize(q auth.Query) auth.Decision {
	d := a.decide(q)
	if d.Allowed {
		a.allowed.Add(1)
	} else {
		a.denied.Add(1)
	}
	return d
}

func (a *Authorizer) decide(q auth.Query) auth.Decision {
	q, d, done := a.before(q)
	if done {
		return d
	}
	s := a.force.Load().snapshot
	k := key{q.Principal.ARN, q.Action, q.Resource}
	d, ok := s.cache.get(k)
	if !ok {
		d = s.evaluate(q, a.cfg.Log)
		s.cache.put(k, d)
	}
	d.Policies = slices.Clone(d.Policies) // the cache keeps its own
	return d
}

// before completes a query, and answers those that no policy is asked about.
func (a *Authorizer) before(q auth.Query) (auth.Query, auth.Decision, bool) {
	if q.Resource.Environment == "" {
		q.Resource.Environment = a.cfg.Environment
	}
	switch {
	case !a.own(q.Principal):
		return q, auth.Decision{Policies: []string{IDAccount}}, true
	case a.platform[q.Principal.ARN]:
		return q, auth.Decision{Policies: []string{IDPlatformRoles}}, true
	case !applies(q):
		return q, auth.Decision{}, true
	}
	return q, auth.Decision{}, false
}

// own reports whether p is of our account and partition, in all that it says of
// itself. Whoever proves identities has made sure of it; a mistake there must not
// become one here.
func (a *Authorizer) own(p auth.Principal) bool {
	if p.Account != a.cfg.Account || p.Partition != a.cfg.Partition {
		return false
	}
	switch p.Type {
	case auth.User, auth.Role:
		name, ok := strings.CutPrefix(p.ARN, a.iam+string(p.Type)+"/")
		return ok && name != "" && !strings.Contains(name, "/")
	case auth.Root:
		return p.ARN == a.iam+"root"
	case auth.Federated:
		return strings.HasPrefix(p.ARN, a.sts+string(auth.Federated)+"/")
	}
	return false
}

// Describe implements auth.Authorizer.
func (a *Authorizer) Describe() string {
	f := a.force.Load()
	if a.cfg.File == "" {
		return "default: every principal of account " + a.cfg.Account
	}
	text := "1 policy"
	if n := len(f.policies); n != 1 {
		text = fmt.Sprintf("%d policies", n)
	}
	if f.bad != "" {
		text += "; the file has changed since and is not valid: " + f.bad
	}
	return fmt.Sprintf("%s (%s)", a.cfg.File, text)
}

// Counts are totals since the start, for metrics.
type Counts struct {
	Allowed, Denied uint64 // decisions
	Reloads         uint64 // files that came into force after the first
	ReloadFailures  uint64 // changes of the file that did not
}

// Counts returns what was counted so far.
func (a *Authorizer) Counts() Counts {
	return Counts{a.allowed.Load(), a.denied.Load(), a.reloads.Load(), a.failures.Load()}
}

// Run looks at the policy file every two seconds and takes it when it has changed
// and is valid. It returns when ctx ends, and is called once.
func (a *Authorizer) Run(ctx context.Context) error {
	if a.cfg.File == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.watch(ctx)
}
