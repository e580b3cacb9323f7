package iam

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// discoverTimeout bounds the search for credentials of the operator's own.
const discoverTimeout = 20 * time.Second

// Discover asks STS, with the operator's own credentials, whose it is. It is done
// once, at start-up.
func (s *STS) Discover(ctx context.Context, region string) (auth.Principal, error) {
	hint := "name the account with --account-id, or give the server credentials of it"
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	var own aws.Credentials
	if err == nil {
		own, err = cfg.Credentials.Retrieve(ctx)
	}
	if err != nil {
		return auth.Principal{}, fault.New(fault.Usage, "auth.account_unknown", "the AWS account is not named, and there are no credentials to discover it with").
			WithHint("%s", hint)
	}
	who, err := s.caller(ctx, func() bool { return true }, func(ctx context.Context) (*http.Request, error) { return s.signed(ctx, own, region) })
	if err != nil {
		return auth.Principal{}, fault.New(fault.Unavailable, "auth.account_unknown", "the AWS account could not be discovered: STS at %s says %s (%s)", s.url, Reason(err), causeOf(err)).
			WithHint("%s", hint)
	}
	return who, nil
}

// signed is the plain call of the operator itself.
func (s *STS) signed(ctx context.Context, own aws.Credentials, region string) (*http.Request, error) {
	now := time.Now().UTC()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Host = s.host
	req.Header.Set("Content-Type", auth.ProofContentType)
	if err := v4.NewSigner().SignHTTP(ctx, own, req, auth.ProofPayloadHash(), auth.ProofService, region, now); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	auth.SetProofBody(req)
	return req, nil
}

// partitions are the published rules by which a region belongs to a partition
// (partitions.json of the AWS SDKs); whatever matches none is of aws. They are
// rules, not a list: a new region needs no release.
var partitions = []struct {
	name   string
	region func() *regexp.Regexp
}{
	{"aws-cn", auth.Pattern(`^cn-\w+-\d+$`)},
	{"aws-us-gov", auth.Pattern(`^us-gov-\w+-\d+$`)},
	{"aws-iso", auth.Pattern(`^us-iso-\w+-\d+$`)},
	{"aws-iso-b", auth.Pattern(`^us-isob-\w+-\d+$`)},
	{"aws-iso-e", auth.Pattern(`^eu-isoe-\w+-\d+$`)},
	{"aws-iso-f", auth.Pattern(`^us-isof-\w+-\d+$`)},
	{"aws-eusc", auth.Pattern(`^eusc-(de)-\w+-\d+$`)},
}

// PartitionOf returns the partition of a region.
func PartitionOf(region string) string {
	for _, p := range partitions {
		if p.region().MatchString(region) {
			return p.name
		}
	}
	return "aws"
}

// Host is the host of the region's STS, which proofs sign.
func (s *STS) Host() string { return s.host }
