package awscreds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// metadataTimeout is the patience with the instance metadata service, which
// either answers at once or is not there.
const metadataTimeout = time.Second

const maxMetadata = 64 << 10

var errNoMetadata = errors.New("the instance metadata service did not answer")

// metadata asks the instance metadata service once and quickly. It is handed to
// the SDK before the configuration that it needs is known, hence use.
type metadata struct {
	client   *imds.Client
	failed   bool
	disabled bool
}

func (m *metadata) use(cfg aws.Config) {
	m.client = imds.NewFromConfig(cfg, func(o *imds.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(metadataTimeout).
			// It is link-local: a proxy can only be in the way.
			WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })
		m.disabled = o.ClientEnableState == imds.ClientDisabled
	})
}

// GetMetadata reads the whole answer within the timeout.
func (m *metadata) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, opts ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	if m.client == nil || m.failed {
		return nil, errNoMetadata
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	out, err := m.client.GetMetadata(ctx, in, opts...)
	if err != nil {
		m.failed = true
		return nil, err
	}
	defer out.Content.Close()
	data, err := io.ReadAll(io.LimitReader(out.Content, maxMetadata))
	if err != nil {
		m.failed = true
		return nil, err
	}
	out.Content = io.NopCloser(bytes.NewReader(data))
	return out, nil
}
