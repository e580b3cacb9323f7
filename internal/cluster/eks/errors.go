package eks

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// Stable codes of what stands in the way of a cluster.
const (
	CodeNotOurs     = "clusterstate.not_ours"
	CodeStackFailed = "clusterstate.stack_failed"
	CodeReplacement = "clusterstate.replacement_refused"
	CodeNoCluster   = "clusterstate.cluster_does_not_exist"
	CodeOldCluster  = "clusterstate.made_by_another_release"
	CodeOtherFile   = "clusterstate.cluster_already_exists"
	CodeBusy        = "clusterstate.being_changed"
	CodeNotWhole    = "clusterstate.not_whole"
	CodeNoImage     = "clusterstate.image_missing"
)

// refusal is what AWS's codes of errors mean to whoever runs a command.
type refusal struct {
	codes []string
	kind  fault.Kind
	code  string
	hint  string
}

// refusals are those that can come from any service. What only one call can say is
// judged where it is called.
var refusals = []refusal{
	{[]string{"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}, fault.Unproven, CodeExpired,
		"get new credentials and run the same command again: nothing is lost, it goes on where it stopped"},
	{[]string{"InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSignatureException", "IncompleteSignature"}, fault.Unproven, CodeRefusedCredentials,
		"check them with `aws sts get-caller-identity`; a region that has to be turned on for the account first answers like this too"},
	{[]string{"OptInRequired", "SubscriptionRequiredException"}, fault.Forbidden, CodeOptIn,
		"turn the region or the service on in the console of the account, or take another region"},
	{[]string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Client.UnauthorizedOperation", "UnauthorizedException", "AuthorizationError", "AuthorizationErrorException", "Forbidden"}, fault.Forbidden, CodeForbidden,
		granted("")},
	{[]string{"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown"}, fault.TooMany, CodeThrottled,
		"others use the account heavily; run the same command again in some minutes, it goes on where it stopped"},
}

// Stable codes of what AWS answers.
const (
	CodeExpired            = "aws.credentials_expired"
	CodeRefusedCredentials = "aws.credentials_refused"
	CodeOptIn              = "aws.not_turned_on"
	CodeForbidden          = "aws.forbidden"
	CodeThrottled          = "aws.throttled"
	CodeUnreachable        = "aws.unreachable"
	CodeFailed             = "aws.failed"
)

// codeOf is AWS's code of an error, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// textOf is AWS's own text of an error, or the error itself.
func textOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" {
		return bounded(api.ErrorMessage())
	}
	return bounded(err.Error())
}

// bounded keeps a text of AWS's to what a person reads.
func bounded(text string) string {
	const most = 600
	text = strings.TrimSpace(text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// is reports whether an error has one of AWS's codes.
func is(err error, codes ...string) bool { return err != nil && slices.Contains(codes, codeOf(err)) }

// says reports whether AWS's text of an error holds one of some words.
func says(err error, words ...string) bool {
	return err != nil && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(textOf(err), w) })
}

// asFault says in words what AWS has refused; doing is "reading the quotas".
func asFault(doing string, err error) error {
	var network *net.OpError
	var dns *net.DNSError
	var f *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f) || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &dns) || errors.As(err, &network):
		return fault.New(fault.Disconnected, CodeUnreachable, "%s: AWS does not answer: %w", doing, err).
			WithHint("check the network, and that the region exists")
	}
	code := codeOf(err)
	for _, r := range refusals {
		if !slices.Contains(r.codes, code) {
			continue
		}
		text, hint := textOf(err), r.hint
		if action := deniedAction(text); action != "" {
			hint = granted(text)
			text = "these credentials may not " + action + onResource(text)
		}
		return fault.New(r.kind, r.code, "%s: %s", doing, text).WithHint("%s", hint)
	}
	return fault.New(fault.Unavailable, CodeFailed, "%s: %s", doing, textOf(err)).WithHint("run the same command again when the cause is gone: it goes on where it stopped")
}

var (
	actionShape   = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)`)
	resourceShape = regexp.MustCompile(`on resource: (\S+)`)
)

// deniedAction is the action in AWS's text of a refusal, or "".
func deniedAction(text string) string {
	if m := actionShape.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func deniedResource(text string) string {
	if m := resourceShape.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func onResource(text string) string {
	if r := deniedResource(text); r != "" {
		return " on " + r
	}
	return ""
}

// granted says what gives the permission that AWS's text of a refusal is about.
func granted(text string) string {
	const whole = "`cortex cluster policy` prints a policy that allows everything which the commands for clusters do"
	if action := deniedAction(text); action != "" {
		if statements := cluster.Granting(action, deniedResource(text)); statements != "" {
			return action + " is allowed by " + statements
		}
	}
	return whole
}
