package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/awscreds"
)

// stsHost is the host of STS in a region, as the SDK knows it. Whatever a hostile
// operator makes of the region, it is a host that is signed and never asked.
func stsHost(ctx context.Context, region string) (string, error) {
	endpoint, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{
		Region: aws.String(region), UseFIPS: aws.Bool(false), UseDualStack: aws.Bool(false), UseGlobalEndpoint: aws.Bool(false),
	})
	if err != nil {
		return "", fmt.Errorf("the SDK knows no STS in the region %s", region)
	}
	return endpoint.URI.Host, nil
}

// authorization is what the SDK's signer writes, taken apart.
var authorization = auth.Pattern(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/[^ ,]+, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`)

// sign proves with k an identity for one use at one operator.
func sign(ctx context.Context, k awscreds.Credentials, b auth.Binding, at time.Time) (auth.Proof, error) {
	date := at.UTC().Format(auth.DateLayout)
	req, err := auth.CallerIdentity(ctx, "https://"+b.Host+"/", b, date, k.Token.Text())
	if err != nil {
		return auth.Proof{}, err
	}
	creds := aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret.Text(), SessionToken: k.Token.Text()}
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, auth.ProofPayloadHash(), auth.ProofService, b.Region, at.UTC()); err != nil {
		return auth.Proof{}, errors.New("signing the proof: the SDK refused")
	}
	m := authorization().FindStringSubmatch(req.Header.Get("Authorization"))
	if m == nil || m[1] != k.ID || m[2] != auth.SignedHeaders(k.Token.Text()) || req.Header.Get(auth.HeaderDate) != date {
		return auth.Proof{}, errors.New("signing the proof: the SDK has signed something else")
	}
	return auth.Proof{AccessKeyID: k.ID, AMZDate: date, SecurityToken: k.Token.Text(), Signature: m[3], Nonce: b.Nonce}, nil
}
