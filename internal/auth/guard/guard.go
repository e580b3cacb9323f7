// Package guard joins who is calling (iam), what they may do (policy) and the
// record of it (audit) into the one auth.Guard that stands before a network face.
//
// It promises one audit line for every decision, refusals before proof included,
// and that none of them holds a token, a signature or a key. It must not decide
// anything by itself.
package guard

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/fault"
)

// Config names the three. All are required.
type Config struct {
	IAM         *iam.IAM
	Policy      auth.Authorizer
	Audit       *audit.Log
	Environment string           // the cluster's name
	Now         func() time.Time // nil: time.Now
}

// Guard implements auth.Guard.
type Guard struct{ cfg Config }

var _ auth.Guard = (*Guard)(nil)

// New starts nothing.
func New(cfg Config) *Guard {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Guard{cfg: cfg}
}

// Challenge implements auth.Guard.
func (g *Guard) Challenge(context.Context) (auth.Challenge, error) { return g.cfg.IAM.Challenge(), nil }

// Exchange implements auth.Guard.
func (g *Guard) Exchange(ctx context.Context, from auth.Origin, body []byte) (auth.Session, error) {
	session, err := g.cfg.IAM.Exchange(ctx, from.Source, body)
	entry := g.entry(auth.ActionAuthenticate, resourceText(auth.Resource{Environment: g.cfg.Environment}), from)
	who := session.Principal
	if err != nil {
		entry.Decision, entry.Reason = auth.Deny, iam.Reason(err)
		who, _ = iam.PrincipalOf(err)
	}
	entry.Principal, entry.Session = who.ARN, who.Session
	g.cfg.Audit.Write(entry)
	return session, err
}

// Identify implements auth.Guard. Only refusals are written down: what the caller
// goes on to do is.
func (g *Guard) Identify(ctx context.Context, from auth.Origin, token string) (context.Context, error) {
	caller, err := g.cfg.IAM.Verify(ctx, token)
	if err != nil {
		entry := g.entry(auth.ActionAuthenticate, resourceText(auth.Resource{Environment: g.cfg.Environment}), from)
		entry.Decision, entry.Reason = auth.Deny, iam.Reason(err)
		g.cfg.Audit.Write(entry)
		return nil, err
	}
	caller.Origin = from
	return auth.WithCaller(ctx, caller), nil
}

// Permit implements auth.Guard.
func (g *Guard) Permit(ctx context.Context, a auth.Action, r auth.Resource) error {
	return g.PermitAll(ctx, a, []auth.Resource{r})
}

// PermitAll implements auth.Guard.
func (g *Guard) PermitAll(ctx context.Context, a auth.Action, all []auth.Resource) error {
	caller, err := callerOf(ctx)
	if err != nil {
		return err
	}
	names, decisions := make([]string, len(all)), make([]auth.Decision, len(all))
	var refused []string
	var first auth.Decision
	for i, r := range all {
		r.Environment = g.cfg.Environment
		names[i], decisions[i] = resourceText(r), g.decide(caller, a, r)
		if decisions[i].Allowed {
			continue
		}
		if len(refused) == 0 {
			first = decisions[i]
		}
		refused = append(refused, names[i])
	}
	if len(refused) > 0 {
		return g.refuse(caller, a, some(refused), first)
	}
	for i := range all {
		g.record(caller, a, names[i], decisions[i])
	}
	return nil
}

// some names a few.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// refuse is the answer to a caller who may not do something, written down.
func (g *Guard) refuse(caller auth.Caller, a auth.Action, what string, d auth.Decision) error {
	g.record(caller, a, what, d)
	f := fault.New(fault.Forbidden, auth.CodeForbidden, "%s may not %s %s", caller.ARN, verbs[a], what)
	if len(d.Policies) > 0 {
		return f.WithHint("forbidden by policy %s", strings.Join(d.Policies, ", "))
	}
	return f.WithHint("no policy permits the action %s; in force is %s", a, g.cfg.Policy.Describe())
}

// Visible implements auth.Guard.
func (g *Guard) Visible(ctx context.Context, a auth.Action, all []auth.Resource) ([]bool, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	seen := make([]bool, len(all))
	var first auth.Decision
	for i, r := range all {
		r.Environment = g.cfg.Environment
		d := g.decide(caller, a, r)
		if seen[i] = d.Allowed; d.Allowed && !first.Allowed {
			first = d
		}
	}
	whole := auth.Resource{Environment: g.cfg.Environment}
	if !first.Allowed {
		return seen, g.Permit(ctx, a, whole)
	}
	g.record(caller, a, resourceText(whole), first)
	return seen, nil
}

// MintCall implements auth.Guard.
func (g *Guard) MintCall(ctx context.Context, apis []auth.Resource, ttl time.Duration) (auth.CallSession, error) {
	if err := g.PermitAll(ctx, auth.ActionInvoke, apis); err != nil {
		return auth.CallSession{}, err
	}
	caller, err := callerOf(ctx)
	if err != nil {
		return auth.CallSession{}, err
	}
	names := make([]string, len(apis))
	for i, r := range apis {
		names[i] = r.API
	}
	return g.cfg.IAM.MintCall(caller.Principal, names, ttl)
}

// Conclude implements auth.Guard.
func (g *Guard) Conclude(ctx context.Context, c auth.Conclusion) {
	caller, err := callerOf(ctx)
	if err != nil {
		return
	}
	c.Resource.Environment = g.cfg.Environment
	entry := g.entry(c.Action, resourceText(c.Resource), caller.Origin)
	entry.Principal, entry.Session = caller.ARN, caller.Session
	entry.Operation, entry.Outcome, entry.Version, entry.Code, entry.Command = c.Operation, c.Outcome, c.Version, c.Code, c.Command
	g.cfg.Audit.Write(entry)
}

// May implements auth.Guard.
func (g *Guard) May(ctx context.Context, a auth.Action, r auth.Resource) bool {
	caller, err := callerOf(ctx)
	r.Environment = g.cfg.Environment
	return err == nil && g.decide(caller, a, r).Allowed
}

func (g *Guard) decide(c auth.Caller, a auth.Action, r auth.Resource) auth.Decision {
	return g.cfg.Policy.Authorize(auth.Query{Principal: c.Principal, Action: a, Resource: r})
}

func (g *Guard) record(c auth.Caller, a auth.Action, what string, d auth.Decision) {
	entry := g.entry(a, what, c.Origin)
	entry.Principal, entry.Session, entry.Policies = c.ARN, c.Session, d.Policies
	if !d.Allowed {
		entry.Decision = auth.Deny
	}
	g.cfg.Audit.Write(entry)
}

// verbs are the actions in a sentence.
var verbs = map[auth.Action]string{
	auth.ActionList: "list the APIs of", auth.ActionGet: "see", auth.ActionLogs: "read the logs of",
	auth.ActionDeploy: "deploy", auth.ActionRefresh: "refresh", auth.ActionStop: "stop", auth.ActionStart: "start", auth.ActionScale: "scale", auth.ActionDelete: "delete", auth.ActionExec: "run commands in",
	auth.ActionSubmitJob: "submit jobs to", auth.ActionStopJob: "stop jobs of",
	auth.ActionListItems: "list items of", auth.ActionCancelItems: "cancel items of", auth.ActionRetryItems: "retry items of", auth.ActionPurgeItems: "purge items of", auth.ActionRedeliver: "redeliver webhook messages of",
	auth.ActionListSchedules: "list schedules of", auth.ActionRunSchedules: "run schedules of", auth.ActionPauseSchedules: "pause schedules of",
	auth.ActionListSecrets: "list the secrets of", auth.ActionSetSecret: "set", auth.ActionDeleteSecret: "delete", auth.ActionUseSecret: "deploy what reads",
	auth.ActionInvoke: "call", auth.ActionListUsage: "list the usage of", auth.ActionListKeys: "list the access keys of", auth.ActionCreateKey: "make access keys for", auth.ActionRevokeKey: "revoke access keys for",
	auth.ActionListVolumes: "list the volumes of", auth.ActionDeleteVolume: "delete", auth.ActionUseVolume: "deploy what mounts",
	auth.ActionClusterInfo: "see", auth.ActionClusterAudit: "read the audit of", auth.ActionRevokeSessions: "end the sessions of",
}

// WhoAmI implements auth.Guard. Its permissions are those for the environment as a
// whole: a policy may say more of single APIs.
func (g *Guard) WhoAmI(ctx context.Context) (auth.Identity, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return auth.Identity{}, err
	}
	id := auth.Identity{
		Principal: caller.Principal, Environment: g.cfg.Environment, ClusterID: g.cfg.IAM.ClusterID(),
		SessionID: caller.SessionID, ExpiresAt: caller.ExpiresAt, Policy: g.cfg.Policy.Describe(),
	}
	for _, a := range auth.Actions {
		d := g.decide(caller, a, auth.Resource{Environment: g.cfg.Environment})
		id.Permissions = append(id.Permissions, auth.Permission{Action: a, Allowed: d.Allowed, Policies: d.Policies})
	}
	return id, nil
}

// Audit implements auth.Guard.
func (g *Guard) Audit(ctx context.Context, q auth.AuditQuery, fn func(auth.Entry) error) error {
	return g.cfg.Audit.Read(ctx, q, fn)
}

// RevokeSessions implements auth.Guard.
func (g *Guard) RevokeSessions(ctx context.Context) error { return g.cfg.IAM.Revoke(ctx) }

// callerOf is the caller of ctx; without one nothing is permitted.
func callerOf(ctx context.Context) (auth.Caller, error) {
	caller, ok := auth.CallerOf(ctx)
	if !ok {
		return caller, auth.ErrNotProven
	}
	return caller, nil
}

func (g *Guard) entry(a auth.Action, what string, from auth.Origin) auth.Entry {
	return auth.Entry{
		Time: g.cfg.Now().UTC(), RequestID: from.RequestID, Action: a, Resource: what,
		Decision: auth.Allow, Source: sourceText(from.Source),
	}
}

// resourceText is how the audit and errors name a resource.
func resourceText(r auth.Resource) string {
	switch {
	case r.Secret != "":
		return "secret " + r.Secret
	case r.Volume != "":
		return "volume " + r.Volume
	case r.Key != "":
		return "key " + r.Key
	case r.API == "":
		return "environment " + r.Environment
	}
	return r.API
}

func sourceText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
