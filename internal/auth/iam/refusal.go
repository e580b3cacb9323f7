package iam

import (
	"errors"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// The reasons of a refusal, for the audit and the metrics. Callers are not told.
const (
	ReasonEnvelope  = "envelope"        // no JSON object of the five keys
	ReasonField     = "field"           // a value has the wrong shape
	ReasonDate      = "date"            // signed too long ago, or in the future
	ReasonNonce     = "nonce"           // not ours, or too old
	ReasonReplay    = "replay"          // used before
	ReasonLimit     = "limit"           // too many attempts
	ReasonSTS       = "sts_refused"     // STS says that the signature or the key is no good
	ReasonThrottled = "sts_throttled"   // STS says that we ask too often
	ReasonDown      = "sts_unavailable" // STS does not answer
	ReasonAnswer    = "sts_answer"      // what came back is no answer of STS
	ReasonIdentity  = "identity"        // STS names no identity that we know how to read
	ReasonAccount   = "account"         // proven, of another account or partition
	ReasonStore     = "store"           // the state does not answer
	ReasonToken     = "token"           // a session that is none, is over, or of another cluster
)

// Reasons is every reason.
var Reasons = []string{
	ReasonEnvelope, ReasonField, ReasonDate, ReasonNonce, ReasonReplay, ReasonLimit, ReasonSTS, ReasonThrottled,
	ReasonDown, ReasonAnswer, ReasonIdentity, ReasonAccount, ReasonStore, ReasonToken,
}

// refusal is a fault with the reason that callers are not told. Its cause stays
// out of every text: it may repeat what STS said.
type refusal struct {
	*fault.Fault
	reason    string
	cause     error
	principal auth.Principal // proven all the same; empty otherwise
}

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.Fault}
	}
	return []error{r.Fault, r.cause}
}

// Reason is why err was refused: one of Reasons, or "" for nil.
func Reason(err error) string {
	var r *refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &r):
		return r.reason
	default:
		return ReasonStore
	}
}

// PrincipalOf is who was refused, where that was proven: somebody of another account.
func PrincipalOf(err error) (auth.Principal, bool) {
	var r *refusal
	if errors.As(err, &r) {
		return r.principal, r.principal.ARN != ""
	}
	return auth.Principal{}, false
}

func causeOf(err error) string {
	var r *refusal
	if errors.As(err, &r) && r.cause != nil {
		return r.cause.Error()
	}
	return ""
}

// The faults are values: before proof, one text serves every reason.
var (
	faultTooMany = fault.New(fault.TooMany, auth.CodeTooMany, "too many attempts to prove an identity").
			WithHint("try again in a moment")
	faultAway = fault.New(fault.Unavailable, auth.CodeUnavailable, "identities cannot be checked at the moment").
			WithHint("try again in a moment; sessions that exist keep working")
)

func unproven(reason string) error    { return &refusal{Fault: auth.ErrNotProven, reason: reason} }
func malformed(reason string) error   { return &refusal{Fault: auth.ErrNoProof, reason: reason} }
func tooMany(reason string) error     { return &refusal{Fault: faultTooMany, reason: reason} }
func unavailable(reason string) error { return &refusal{Fault: faultAway, reason: reason} }

func because(err error, cause error) error {
	var r *refusal
	if errors.As(err, &r) {
		c := *r
		c.cause = cause
		return &c
	}
	return err
}

func otherAccount(who auth.Principal) error {
	return &refusal{
		Fault: fault.New(fault.Forbidden, auth.CodeOtherAccount, "%s is not of the AWS account of this cluster", who.ARN).
			// Which account that is, is nothing that every AWS identity in the world has to know.
			WithHint("use credentials of the account that the cluster is in"),
		reason: ReasonAccount, principal: who,
	}
}
