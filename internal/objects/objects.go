// Package objects reads objects of Amazon S3, from which jobs may take their items.
//
// It promises that a bucket of any region is read, that what may come right by itself is a
// fault.Unavailable and everything else says what is wrong, and that nothing is read before
// it is needed. It must not know what the objects are for, or who may name them.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"cortex.dev/cortex/internal/fault"
)

// Codes of what whoever names an object is told.
const (
	CodeDenied  = "objects.access_denied"
	CodeMissing = "objects.not_found"
	CodeNoKeys  = "objects.no_credentials"
)

// S3 reads with the credentials of this program, found as the AWS SDKs find them. All methods
// may be called at once.
type S3 struct {
	mu      sync.Mutex
	base    *aws.Config // nil: it was not needed yet
	regions map[string]string
	clients map[string]*s3.Client // by region
}

// New returns a reader.
func New() *S3 { return &S3{regions: map[string]string{}, clients: map[string]*s3.Client{}} }

// defaultRegion is asked first where the environment names none.
const defaultRegion = "us-east-1"

// client returns the client of a bucket's region, as far as that is known.
func (s *S3) client(ctx context.Context, bucket string) (*s3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == nil {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fault.New(fault.Invalid, CodeNoKeys, "the AWS configuration of this program cannot be read: %w", err)
		}
		if cfg.Region == "" {
			cfg.Region = defaultRegion
		}
		s.base = &cfg
	}
	region := s.base.Region
	if known := s.regions[bucket]; known != "" {
		region = known
	}
	if s.clients[region] == nil {
		s.clients[region] = s3.NewFromConfig(*s.base, func(o *s3.Options) {
			o.Region = region
			// A simulator or a store of one's own is at one name, and has no other for a bucket.
			o.UsePathStyle = s.base.BaseEndpoint != nil || o.BaseEndpoint != nil
			// What is read in parts has no checksum of the whole.
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		})
	}
	return s.clients[region], nil
}

// do asks for something of a bucket, in its region.
func (s *S3) do(ctx context.Context, bucket, path string, ask func(*s3.Client) error) error {
	for again := false; ; again = true {
		client, err := s.client(ctx, bucket)
		if err != nil {
			return err
		}
		err = ask(client)
		if err == nil {
			return nil
		}
		if region := regionOf(err); region != "" && !again {
			s.mu.Lock()
			s.regions[bucket] = region
			s.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return explain(path, err)
	}
}

// regionOf is where a bucket is, as S3 says to whoever asks elsewhere.
func regionOf(err error) string {
	var response *awshttp.ResponseError
	if errors.As(err, &response) && (response.HTTPStatusCode() == http.StatusMovedPermanently || response.HTTPStatusCode() == http.StatusTemporaryRedirect || response.HTTPStatusCode() == http.StatusBadRequest) {
		return response.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

// explain says what is wrong with a path.
func explain(path string, err error) error {
	var api smithy.APIError
	var response *awshttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch {
	case errors.As(err, &api) && (api.ErrorCode() == "NoSuchBucket" || api.ErrorCode() == "NoSuchKey"), status == http.StatusNotFound:
		return fault.New(fault.Invalid, CodeMissing, "%s does not exist", path)
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fault.New(fault.Invalid, CodeDenied, "%s may not be read by this program: %w", path, brief(err)).
			WithHint("its AWS identity needs s3:ListBucket of the bucket and s3:GetObject of the objects")
	case status == 0 && strings.Contains(err.Error(), "credentials"):
		return fault.New(fault.Invalid, CodeNoKeys, "%s cannot be read without AWS credentials: %w", path, brief(err)).
			WithHint("give this program some as for any AWS SDK: variables, a profile, or the role of its machine or pod")
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		return fault.New(fault.Invalid, "objects.refused", "S3 refuses to read %s: %w", path, brief(err))
	}
	return fault.New(fault.Unavailable, "objects.unavailable", "%s cannot be read now: %w", path, brief(err))
}

// brief leaves out what the SDK says around the words of S3.
func brief(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err
}

// List calls fn with the keys of a bucket that begin with a prefix, in the order of their
// bytes, until fn returns false. Keys that end with a slash are left out: they stand for
// folders.
func (s *S3) List(ctx context.Context, bucket, prefix string, fn func(key string) bool) error {
	var token *string
	for {
		var page *s3.ListObjectsV2Output
		if err := s.do(ctx, bucket, "s3://"+bucket+"/"+prefix, func(c *s3.Client) (err error) {
			page, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, ContinuationToken: token})
			return err
		}); err != nil {
			return err
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); !strings.HasSuffix(key, "/") && !fn(key) {
				return nil
			}
		}
		if token = page.NextContinuationToken; token == nil || !aws.ToBool(page.IsTruncated) {
			return nil
		}
	}
}

// Open returns an object from a byte on.
func (s *S3) Open(ctx context.Context, bucket, key string, from int64) (io.ReadCloser, error) {
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if from > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", from))
	}
	var body io.ReadCloser
	err := s.do(ctx, bucket, "s3://"+bucket+"/"+key, func(c *s3.Client) error {
		out, err := c.GetObject(ctx, input)
		var response *awshttp.ResponseError
		if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable && from > 0 {
			body = io.NopCloser(strings.NewReader("")) // all of it was read
			return nil
		}
		if err != nil {
			return err
		}
		body = out.Body
		return nil
	})
	return body, err
}
