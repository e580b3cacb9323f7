// Package eks carries out plans of package cluster in an AWS account: it reads the facts
// that a plan is made from, makes what the plan names, says what there is, and takes it
// away again.
//
// It promises that whatever it is stopped by, the same command goes on where it stopped:
// what there is is always asked of AWS, never of a file; that a thing is made once; that
// nothing is changed or removed which is not provably of the cluster; and that every
// refusal of AWS comes back as a fault which says what to do.
//
// It must not decide what a cluster consists of, which is package cluster's, and must
// not know how things get onto Kubernetes, which is behind the port Kubernetes.
package eks

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"cortex.dev/cortex/internal/cluster"
)

// Account is an AWS account, seen from one region with the credentials of one caller.
type Account struct {
	ID     string
	Region string
	Caller string // ARN of whose credentials they are

	kube   Kubernetes
	acm    *acm.Client
	asg    *autoscaling.Client
	cfn    *cloudformation.Client
	ec2    *ec2.Client
	eks    *eks.Client
	elb    *elasticloadbalancingv2.Client
	iam    *iam.Client
	logs   *cloudwatchlogs.Client
	quotas *servicequotas.Client
	s3     *s3.Client
	sqs    *sqs.Client
	ssm    *ssm.Client
	sts    *sts.Client
}

// Bounds of how long AWS is asked for one thing.
const (
	callAttempts = 8 // a throttled account answers the last of them
	callBackoff  = 20 * time.Second
	callPatience = 60 * time.Second // of one attempt
)

// Config returns how AWS is called: with credentials, in a region, patiently.
func Config(creds aws.CredentialsProvider, region string) aws.Config {
	return aws.Config{
		Region: region, Credentials: aws.NewCredentialsCache(creds), HTTPClient: &http.Client{Timeout: callPatience},
	}
}

// Open asks AWS whose credentials cfg has, and returns that account.
func Open(ctx context.Context, cfg aws.Config, k Kubernetes) (*Account, error) {
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = callAttempts, callBackoff
			// The bucket of tokens would end a run of many minutes after some throttles.
			o.RateLimiter = unlimited{}
		})
	}
	cfg.Logger = logging.Nop{} // nothing but events goes to the user's terminal
	a := &Account{
		Region: cfg.Region, kube: k,
		acm: acm.NewFromConfig(cfg), asg: autoscaling.NewFromConfig(cfg), cfn: cloudformation.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg),
		eks: eks.NewFromConfig(cfg), elb: elasticloadbalancingv2.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg),
		quotas: servicequotas.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg, byPath), sqs: sqs.NewFromConfig(cfg), ssm: ssm.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg),
	}
	who, err := a.sts.GetCallerIdentity(ctx, nil)
	if err != nil {
		return nil, asFault("asking AWS whose credentials these are", err)
	}
	a.ID, a.Caller = aws.ToString(who.Account), aws.ToString(who.Arn)
	return a, nil
}

// byPath has a bucket named by the path where S3 is at an endpoint of somebody's own, which
// has no names for buckets.
func byPath(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }

// unlimited lets every retry happen that the number of attempts allows.
type unlimited struct{}

func (unlimited) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (unlimited) AddTokens(uint) error { return nil }

// Identity is the account, and the ARN of whose credentials are used.
func (a *Account) Identity() (account, caller string) { return a.ID, a.Caller }

// names are those of everything of a cluster in this account and region.
func (a *Account) names(name string) cluster.Names { return cluster.NamesOf(name, a.ID, a.Region) }
