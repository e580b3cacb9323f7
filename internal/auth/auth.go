// Package auth is the port that says who is calling and what they may do: a
// Principal is proven by an implementation (iam, local), an Authorizer decides
// (policy), and every decision is one line that audit keeps.
//
// It promises one reading of an AWS identity (ParseIdentity) and one request that
// proves it (CallerIdentity), shared by those who sign and those who rebuild; and
// that the list of actions is complete: what is not an Action cannot be asked for.
// docs/security.md says what all of it is for.
//
// It must not know HTTP routes, listeners or files, and it never holds a secret.
package auth

import (
	"context"
	"net/netip"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// Action is what a caller wants to do. Their names are those of the policies.
type Action string

// The actions. Those that begin with "cluster:" are about the whole environment.
const (
	ActionList           Action = "list"
	ActionGet            Action = "get"
	ActionLogs           Action = "logs"
	ActionDeploy         Action = "deploy" // rolling back is deploying
	ActionRefresh        Action = "refresh"
	ActionStop           Action = "stop"
	ActionStart          Action = "start"
	ActionScale          Action = "scale"
	ActionDelete         Action = "delete"
	ActionExec           Action = "exec"
	ActionSubmitJob      Action = "submitJob"
	ActionStopJob        Action = "stopJob"
	ActionListItems      Action = "listItems"
	ActionCancelItems    Action = "cancelItems"
	ActionRetryItems     Action = "retryItems"
	ActionPurgeItems     Action = "purgeItems"
	ActionListSchedules  Action = "listSchedules"
	ActionRunSchedules   Action = "runSchedules" // at once, and for a time that has passed
	ActionPauseSchedules Action = "pauseSchedules"
	ActionRedeliver      Action = "redeliverWebhooks"
	ActionListSecrets    Action = "listSecrets"
	ActionSetSecret      Action = "setSecret"
	ActionDeleteSecret   Action = "deleteSecret"
	ActionUseSecret      Action = "useSecret" // deploying what can read it
	ActionInvoke         Action = "invoke"    // getting a session with which an API can be called
	ActionListUsage      Action = "listUsage"
	ActionListKeys       Action = "listKeys"
	ActionCreateKey      Action = "createKey" // replacing one is creating one
	ActionRevokeKey      Action = "revokeKey"
	ActionListVolumes    Action = "listVolumes"
	ActionDeleteVolume   Action = "deleteVolume"
	ActionUseVolume      Action = "useVolume" // deploying what mounts it
	ActionClusterInfo    Action = "cluster:info"
	ActionClusterAudit   Action = "cluster:audit"
	ActionRevokeSessions Action = "cluster:revokeSessions"
)

// Actions is every action, in the order in which they are shown.
var Actions = []Action{
	ActionList, ActionGet, ActionLogs, ActionDeploy, ActionRefresh, ActionStop, ActionStart, ActionScale, ActionDelete, ActionExec, ActionSubmitJob, ActionStopJob,
	ActionListItems, ActionCancelItems, ActionRetryItems, ActionPurgeItems, ActionRedeliver,
	ActionListSchedules, ActionRunSchedules, ActionPauseSchedules, ActionListSecrets, ActionSetSecret, ActionDeleteSecret, ActionUseSecret,
	ActionInvoke, ActionListUsage, ActionListKeys, ActionCreateKey, ActionRevokeKey, ActionListVolumes, ActionDeleteVolume, ActionUseVolume,
	ActionClusterInfo, ActionClusterAudit, ActionRevokeSessions,
}

// OnSecrets reports whether an action is done to secrets, and not to APIs.
func (a Action) OnSecrets() bool {
	return a == ActionListSecrets || a == ActionSetSecret || a == ActionDeleteSecret || a == ActionUseSecret
}

// OnVolumes reports whether an action is done to volumes.
func (a Action) OnVolumes() bool {
	return a == ActionListVolumes || a == ActionDeleteVolume || a == ActionUseVolume
}

// ActionWhoAmI is permitted to whoever is proven, by no policy.
const ActionWhoAmI Action = "whoami"

// ActionAuthenticate is not asked of a policy: it is what the audit calls an
// attempt to prove an identity.
const ActionAuthenticate Action = "authenticate"

// Resource is what an action is done to: one API, one secret, one volume or, without any,
// the environment as a whole.
type Resource struct {
	API         string // its name
	Secret      string // the name of a secret; never beside that of an API
	Volume      string // the name of a volume, or the path of a folder of the machine; likewise
	Key         string // the name of an access key, in a Conclusion only: policies are asked of its APIs
	Kind        string // RealtimeAPI, …; empty when the API is not deployed (yet)
	Environment string // the name of the cluster
}

// Query is one question to a policy.
type Query struct {
	Principal Principal
	Action    Action
	Resource  Resource
}

// Decision is the answer. Policies are the ids of those that decided: the permits
// or the forbids that applied; a refusal because nothing permits names none.
type Decision struct {
	Allowed  bool
	Policies []string
}

// Authorizer decides. Its methods may be called at once.
type Authorizer interface {
	Authorize(Query) Decision
	// Describe says which policy is in force, in a few words for people, such as
	// "default: every principal of account 123456789012" or "/etc/cortex/policy.cedar (3 policies)".
	Describe() string
}

// Entry is one line of the audit: one decision.
type Entry struct {
	Time       time.Time `json:"time"`
	RequestID  string    `json:"request_id"`
	Principal  string    `json:"principal,omitempty"` // canonical ARN; empty before proof
	Session    string    `json:"session_name,omitempty"`
	Action     Action    `json:"action"`
	Resource   string    `json:"resource"`             // the API's name, a secret's as "secret NAME", a volume's as "volume NAME", a key's as "key NAME", or the environment's as "environment NAME"
	Decision   string    `json:"decision"`             // allow, deny
	Policies   []string  `json:"policies,omitempty"`   // that decided
	Reason     string    `json:"reason,omitempty"`     // of a refusal before proof: one word of a fixed list
	Source     string    `json:"source"`               // address of the caller
	Operation  string    `json:"operation,omitempty"`  // of a change that is over: deploy, dry_run, rollback, refresh, stop, start, scale, delete, exec, submit_job, stop_job, set_secret, delete_secret, create_key, rotate_key, revoke_key, delete_volume
	Outcome    string    `json:"outcome,omitempty"`    // of such a change: done, none (nothing was to be changed), failed; begun of a command
	Version    string    `json:"version,omitempty"`    // that it made: v12
	Code       string    `json:"code,omitempty"`       // of why it failed
	Command    []string  `json:"command,omitempty"`    // that was run in a replica
	Suppressed int       `json:"suppressed,omitempty"` // entries like this one that were left out since the last
}

// The decisions of an Entry.
const (
	Allow = "allow"
	Deny  = "deny"
)

// What became of a change that was allowed.
const (
	OutcomeDone   = "done"
	OutcomeNone   = "none" // nothing was to be changed
	OutcomeFailed = "failed"
	OutcomeBegun  = "begun" // a command, which may run for long
)

// Conclusion is what became of a change that was allowed.
type Conclusion struct {
	Action    Action
	Resource  Resource
	Operation string
	Outcome   string
	Version   string // that it made; empty: none
	Code      string // why it failed
	Command   []string
}

// AuditQuery selects entries. Zero members select everything.
type AuditQuery struct {
	Since     time.Duration // only entries this young
	Principal string        // an ARN in any form, a unique part of it such as user/alice
	Denied    bool          // refusals only
}

// Permission is one line of what a principal may do, environment-wide.
type Permission struct {
	Action   Action   `json:"action"`
	Allowed  bool     `json:"allowed"`
	Policies []string `json:"policies,omitempty"`
}

// Identity is what the operator says of a caller.
type Identity struct {
	Principal   Principal    `json:"principal"`
	Environment string       `json:"environment"`
	ClusterID   string       `json:"cluster_id"`
	SessionID   string       `json:"session_id"`
	ExpiresAt   time.Time    `json:"expires_at"`
	Policy      string       `json:"policy"`
	Permissions []Permission `json:"permissions"`
}

// Origin is where a request came from, for the audit.
type Origin struct {
	RequestID string
	Source    netip.Addr
}

// Caller is a principal with the session that proved it and the request at hand.
type Caller struct {
	Principal
	SessionID string
	ExpiresAt time.Time
	Revoked   <-chan struct{} // closed when the session is worth nothing before its time
	Origin    Origin
}

type callerKey struct{}

// WithCaller returns a context in which c is calling.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who is calling, or false where nobody had to prove it: on the
// Unix socket of the local environment.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// ErrNotProven is how everybody is refused who has not proven an identity: one
// text, whatever failed.
var ErrNotProven = fault.New(fault.Unproven, CodeNotProven, "the identity of the caller is not proven")

// ErrNoProof is how everything is refused that does not have the form of a proof.
var ErrNoProof = fault.New(fault.Malformed, CodeMalformed, "this is not a proof of identity")

// WhileProven returns a context that ends, with a fault.Unproven as its cause, when
// the session of its Caller does: what goes on for long must not outlive the proof
// of who is listening. Without a caller it ends with ctx.
func WhileProven(ctx context.Context) (context.Context, context.CancelFunc) {
	caller, ok := CallerOf(ctx)
	if !ok {
		return context.WithCancel(ctx)
	}
	over := fault.New(fault.Unproven, CodeNotProven, "the caller's session has expired")
	ctx, cancel := context.WithDeadlineCause(ctx, caller.ExpiresAt, over)
	ctx, end := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-caller.Revoked:
			end(over)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		end(nil)
		<-done
	}
}

// Bounds of sessions for calls. What a policy said when one was made holds for as long.
const (
	DefaultCallTTL = 15 * time.Minute
	MinCallTTL     = time.Minute
	MaxCallTTL     = time.Hour
	MaxCallAPIs    = 20
)

// CodeCallRequest is of a request that asks for no session that there can be.
const CodeCallRequest = "auth.call_session_invalid"

// CallRequest asks for a session with which APIs can be called.
type CallRequest struct {
	APIs []string `json:"apis"`          // by name; at least one
	TTL  string   `json:"ttl,omitempty"` // such as 30m; empty: DefaultCallTTL
}

// CallSession proves an AWS identity to APIs that accept that, without its credentials.
type CallSession struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	Principal Principal `json:"principal"`
	APIs      []string  `json:"apis"`
}

// Guard stands before every operation of a network face: it proves who calls,
// decides what they may, and writes both down. Its methods may be called at once.
// Before proof every refusal reads the same (fault.Unproven, CodeNotProven), apart
// from what cannot be read (Malformed), limits (TooMany) and STS being away
// (Unavailable).
type Guard interface {
	Challenge(ctx context.Context) (Challenge, error)
	// Exchange turns the body of a request, a Proof as JSON, into a session.
	Exchange(ctx context.Context, from Origin, body []byte) (Session, error)
	// Identify returns a context in which the owner of the token is the Caller.
	Identify(ctx context.Context, from Origin, token string) (context.Context, error)
	// Permit decides whether the Caller of ctx may, writes that down, and returns
	// fault.Forbidden with the policies that stopped them when not.
	Permit(ctx context.Context, a Action, r Resource) error
	// PermitAll is Permit for an action on several resources, that is done to all of
	// them or to none. A refusal is one error, and one line of the audit.
	PermitAll(ctx context.Context, a Action, all []Resource) error
	// Visible says which of several resources the caller may see in a list, in one
	// line of the audit. When it is none of them, and not the environment as a whole
	// either, the error is that of Permit.
	Visible(ctx context.Context, a Action, all []Resource) ([]bool, error)
	// Conclude writes down what became of a change that Permit or PermitAll has allowed.
	Conclude(ctx context.Context, c Conclusion)
	// May decides without a line in the audit: for what goes on within an operation
	// that is in it already.
	May(ctx context.Context, a Action, r Resource) bool
	WhoAmI(ctx context.Context) (Identity, error)
	// MintCall makes a session with which the Caller may call APIs, one resource each, if
	// they may invoke all of them.
	MintCall(ctx context.Context, apis []Resource, ttl time.Duration) (CallSession, error)
	// Audit calls fn for each kept entry that q selects, oldest first.
	Audit(ctx context.Context, q AuditQuery, fn func(Entry) error) error
	// RevokeSessions makes every session of everybody worthless.
	RevokeSessions(ctx context.Context) error
}

// Codes of what a guard refuses. The first two are those of 0.42.
const (
	CodeNotProven    = "endpoints.auth_invalid"
	CodeOtherAccount = "endpoints.auth_other_account"
	CodeForbidden    = "auth.forbidden"
	CodeMalformed    = "auth.malformed"
	CodeTooMany      = "auth.too_many_attempts"
	CodeUnavailable  = "auth.sts_unavailable"
)
