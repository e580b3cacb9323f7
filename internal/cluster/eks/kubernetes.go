package eks

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// Kubernetes is what is done within a cluster. Each method may be called again.
type Kubernetes interface {
	// Version is the version of Cortex that Apply puts on a cluster.
	Version() string
	// Missing are the images that a chart starts and that no registry has, on a Kubernetes
	// of a version such as 1.36; unknown says why it could not be asked. There may be no
	// cluster yet: of the place only its names are known.
	Missing(ctx context.Context, at Place, chart *cluster.Chart, version string) (missing []string, unknown string, err error)
	// Apply puts the chart on the cluster, or brings it up to date, and returns when what
	// it starts is there.
	Apply(ctx context.Context, at Place, chart *cluster.Chart, say func(string)) (Applied, error)
	// Release removes what in the cluster holds on to something in AWS, and returns when
	// that has let go.
	Release(ctx context.Context, at Place, say func(string)) error
	// Holding are the PodDisruptionBudgets that let no pod of theirs go now, as
	// namespace/name: nodes with such pods cannot be emptied.
	Holding(ctx context.Context, at Place) ([]string, error)
	// Nodes are the machines of mixed groups that have joined, by the ids of their instances,
	// and whether each is ready.
	Nodes(ctx context.Context, at Place) (map[string]bool, error)
	// Drain empties the machines with these ids, and returns when nothing but what belongs to
	// a machine is on them; those that have not joined are empty.
	Drain(ctx context.Context, at Place, ids []string, say func(string)) error
	// Health is what is said within the cluster of how Cortex is doing.
	Health(ctx context.Context, at Place) ([]cluster.Check, error)
	// Mapped are the identities that the ConfigMap aws-auth gives rights to.
	Mapped(ctx context.Context, at Place) ([]Mapping, error)
	// Unmap takes out of aws-auth each of mappings, and leaves the rest as it is.
	Unmap(ctx context.Context, at Place, mappings []Mapping) error
}

// Place is where the API server of a cluster is, and how to prove an identity to it.
type Place struct {
	Cluster   string
	Region    string
	Endpoint  string
	Authority []byte // PEM
	// Token is called for each use: tokens live for 15 minutes.
	Token func(ctx context.Context) (text string, expires time.Time, err error)
}

// Applied is what is known of Cortex once it is on a cluster.
type Applied struct {
	Version   string
	Authority string // PEM, that vouches for the operator
}

// Mapping is one line of aws-auth.
type Mapping struct {
	ARN    string   `json:"arn"`  // or the number of an account, all of whose users are let in
	Role   bool     `json:"role"` // else a user
	Groups []string `json:"groups"`
}

// What EKS takes for a token.
const (
	tokenPrefix = "k8s-aws-v1." //nolint:gosec // it only says what follows
	clusterKey  = "x-k8s-aws-id"
	// tokenLife is what AWS gives a token, whatever its request says; it is renewed a
	// minute before that.
	tokenLife = 14 * time.Minute
	tokenWord = "60" // seconds, which have to be said
)

// Token returns a token for a cluster, made on this machine: a signed request to STS that
// is not sent.
func (a *Account) Token(ctx context.Context, clusterName string) (text string, expires time.Time, err error) {
	signed, err := sts.NewPresignClient(a.sts).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			// The host that EKS asks, wherever this program's own calls may go.
			o.BaseEndpoint, o.EndpointOptions = nil, sts.EndpointResolverOptions{}
			o.APIOptions = append(o.APIOptions,
				smithyhttp.SetHeaderValue(clusterKey, clusterName), presignFor(tokenWord))
		})
	})
	if err != nil {
		return "", time.Time{}, asFault("making a token for cluster "+clusterName, err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(signed.URL)), time.Now().Add(tokenLife), nil
}

// presignFor sets how long a signed request is good for.
func presignFor(seconds string) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("expires", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				q := r.URL.Query()
				q.Set("X-Amz-Expires", seconds)
				r.URL.RawQuery = q.Encode()
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	}
}

// control reads the control plane of a cluster; nil when there is none.
func (a *Account) control(ctx context.Context, name string) (*ekstypes.Cluster, error) {
	out, err := a.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
	if is(err, "ResourceNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, asFault("reading cluster "+name, err)
	}
	return out.Cluster, nil
}

// place is where the API server of a cluster is.
func (a *Account) place(ctx context.Context, name string) (Place, error) {
	c, err := a.control(ctx, name)
	if err != nil {
		return Place{}, err
	}
	if c == nil {
		return Place{}, a.noCluster(ctx, name)
	}
	return a.placeOf(c)
}

// ownPlace is place, of a cluster that this program has made.
func (a *Account) ownPlace(ctx context.Context, name string) (Place, error) {
	there, err := a.IsThere(ctx, name)
	if err == nil && !there {
		err = a.noCluster(ctx, name)
	}
	if err != nil {
		return Place{}, err
	}
	return a.place(ctx, name)
}

// placeOf is where the API server of a control plane is.
func (a *Account) placeOf(c *ekstypes.Cluster) (p Place, err error) {
	name := deref(c.Name)
	p = Place{Cluster: name, Region: a.Region, Endpoint: aws.ToString(c.Endpoint), Token: func(ctx context.Context) (string, time.Time, error) { return a.Token(ctx, name) }}
	if c.CertificateAuthority != nil {
		if p.Authority, err = base64.StdEncoding.DecodeString(aws.ToString(c.CertificateAuthority.Data)); err != nil {
			return Place{}, fault.New(fault.Unavailable, CodeFailed, "the certificate authority of cluster %s cannot be read: %w", name, err)
		}
	}
	return p, nil
}

// noCluster is the fault of a cluster that there is not, or that another program has made.
func (a *Account) noCluster(ctx context.Context, name string) error {
	if err := a.refuseOld(ctx, name); err != nil {
		return err
	}
	return fault.New(fault.NotFound, CodeNoCluster, "there is no cluster %s in %s of account %s", name, a.Region, a.ID).
		WithHint("--region and the credentials decide where it is looked for")
}
