package operatord

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"cortex.dev/cortex/internal/controlapi"
)

// podClaim is where the API server says to which pod a token was issued.
const podClaim = "authentication.kubernetes.io/pod-name"

// reviewer asks the API server whose token it is.
type reviewer struct{ client kubernetes.Interface }

var _ controlapi.Reviewer = reviewer{}

// Review implements controlapi.Reviewer. An API server that does not say that the
// token is for us has not looked at the audience: such a token proves nothing.
func (r reviewer) Review(ctx context.Context, token string) (controlapi.Caller, error) {
	review, err := r.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{controlapi.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return controlapi.Caller{}, fmt.Errorf("reviewing a token: %w", err)
	}
	s := review.Status
	if !s.Authenticated || !slices.Contains(s.Audiences, controlapi.Audience) {
		return controlapi.Caller{}, nil
	}
	caller := controlapi.Caller{Username: s.User.Username}
	if pods := s.User.Extra[podClaim]; len(pods) == 1 {
		caller.Pod = pods[0]
	}
	return caller, nil
}

// accountName is the username of a service account.
func accountName(namespace, account string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}
