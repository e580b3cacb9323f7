package eks

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// notOurs refuses something that has our name and belongs to something else.
func notOurs(what, name, clusterName string) error {
	return fault.New(fault.Conflict, CodeNotOurs, "%s %s is there and is not of cluster %s: it has no tag %s with that name", what, name, clusterName, cluster.TagClusterName).
		WithHint("give the cluster another name, or remove it")
}

func (a *Account) ensureLogGroup(ctx context.Context, g *cluster.LogGroup) error {
	tags, err := a.logGroupTags(ctx, g.Name)
	switch {
	case err != nil:
		return err
	case tags != nil && tags[cluster.TagClusterName] != g.Tags[cluster.TagClusterName]:
		return notOurs("log group", g.Name, g.Tags[cluster.TagClusterName])
	case tags != nil:
		return nil
	}
	_, err = a.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &g.Name, Tags: g.Tags})
	if is(err, "ResourceAlreadyExistsException", "OperationAbortedException") { // an answer that was lost
		return nil
	}
	return asFault("making log group "+g.Name, err)
}

// logGroupTags are the tags of a log group, nil when there is none. The published minimum
// policy allows this call only, which AWS would like nobody to use any more.
func (a *Account) logGroupTags(ctx context.Context, name string) (map[string]string, error) {
	out, err := a.logs.ListTagsLogGroup(ctx, &cloudwatchlogs.ListTagsLogGroupInput{LogGroupName: &name}) //nolint:staticcheck // see above
	switch {
	case is(err, "ResourceNotFoundException"):
		return nil, nil
	case err != nil:
		return nil, asFault("reading log group "+name, err)
	case out.Tags == nil:
		return map[string]string{}, nil
	}
	return out.Tags, nil
}

// bucketState is what there is of a bucket.
type bucketState struct {
	there bool
	tags  map[string]string // nil: it has none at all
}

func (a *Account) bucket(ctx context.Context, name string) (bucketState, error) {
	out, err := a.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &name, ExpectedBucketOwner: &a.ID})
	switch {
	case is(err, "NoSuchBucket"):
		return bucketState{}, nil
	case is(err, "NoSuchTagSet"):
		return bucketState{there: true}, nil
	case is(err, "AccessDenied"):
		return bucketState{}, fault.New(fault.Conflict, CodeNotOurs, "bucket %s is somebody else's, or these credentials may not look at it", name).
			WithHint("give the cluster another name; or, s3:GetBucketTagging is allowed by %s", cluster.Granting("s3:GetBucketTagging", ""))
	case err != nil:
		return bucketState{}, asFault("reading the tags of bucket "+name, err)
	}
	b := bucketState{there: true, tags: map[string]string{}}
	for _, t := range out.TagSet {
		b.tags[deref(t.Key)] = deref(t.Value)
	}
	return b, nil
}

func (a *Account) ensureBucket(ctx context.Context, b *cluster.Bucket) error {
	now, err := a.bucket(ctx, b.Name)
	if err != nil {
		return err
	}
	owner := b.Tags[cluster.TagClusterName]
	if ours, err := a.ourBucket(ctx, now, b.Name, owner); err != nil {
		return err
	} else if now.there && !ours {
		return notOurs("bucket", b.Name, owner)
	}
	if !now.there {
		if err := a.createBucket(ctx, b.Name); err != nil {
			return err
		}
	}
	return a.configureBucket(ctx, b)
}

// ourBucket reports whether a bucket is a cluster's: by its tag; and one without any tag and
// without any object is one at which a run was stopped.
func (a *Account) ourBucket(ctx context.Context, b bucketState, name, clusterName string) (bool, error) {
	if !b.there || b.tags != nil {
		return b.there && b.tags[cluster.TagClusterName] == clusterName, nil
	}
	return a.bucketEmpty(ctx, name)
}

func (a *Account) createBucket(ctx context.Context, name string) error {
	in := &s3.CreateBucketInput{Bucket: &name}
	if a.Region != "us-east-1" {
		in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(a.Region)}
	}
	_, err := a.s3.CreateBucket(ctx, in)
	if is(err, "BucketAlreadyOwnedByYou") {
		return nil
	}
	if is(err, "BucketAlreadyExists") {
		return fault.New(fault.Conflict, CodeNotOurs, "bucket %s is somebody else's", name).WithHint("give the cluster another name")
	}
	return asFault("making bucket "+name, err)
}

// configureBucket says what the bucket has to be like. Each call may be made again.
func (a *Account) configureBucket(ctx context.Context, b *cluster.Bucket) error {
	var tags []s3types.Tag
	for _, key := range sorted(b.Tags) {
		tags = append(tags, s3types.Tag{Key: aws.String(key), Value: aws.String(b.Tags[key])})
	}
	if _, err := a.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &b.Name, Tagging: &s3types.Tagging{TagSet: tags}}); err != nil {
		return asFault("tagging bucket "+b.Name, err)
	}
	if _, err := a.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &b.Name, PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
		BlockPublicAcls: &b.BlockPublicAccess, BlockPublicPolicy: &b.BlockPublicAccess, IgnorePublicAcls: &b.BlockPublicAccess, RestrictPublicBuckets: &b.BlockPublicAccess,
	}}); err != nil {
		return asFault("closing bucket "+b.Name+" to the public", err)
	}
	if _, err := a.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &b.Name, ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{
		Rules: []s3types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryption(b.Encryption)}}},
	}}); err != nil {
		return asFault("encrypting bucket "+b.Name, err)
	}
	_, err := a.s3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: &b.Name, LifecycleConfiguration: &s3types.BucketLifecycleConfiguration{
		Rules: []s3types.LifecycleRule{{
			ID: aws.String("uploads"), Status: s3types.ExpirationStatusEnabled, Filter: &s3types.LifecycleRuleFilter{Prefix: aws.String("")},
			AbortIncompleteMultipartUpload: &s3types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(int32(b.AbortUploadsAfterDays))}, //nolint:gosec // it is 1
		}},
	}})
	return asFault("setting up the lifecycle of bucket "+b.Name, err)
}

func (a *Account) bucketEmpty(ctx context.Context, name string) (bool, error) {
	out, err := a.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &name, MaxKeys: aws.Int32(1)})
	if err != nil {
		return false, asFault("looking into bucket "+name, err)
	}
	return len(out.Versions) == 0 && len(out.DeleteMarkers) == 0, nil
}

// emptyBucket removes all versions of all objects, and what was uploaded in part.
func (a *Account) emptyBucket(ctx context.Context, name string) error {
	for range maxPages * 1000 {
		out, err := a.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &name})
		if err != nil {
			return asFault("listing bucket "+name, err)
		}
		var ids []s3types.ObjectIdentifier
		for _, v := range out.Versions {
			ids = append(ids, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, v := range out.DeleteMarkers {
			ids = append(ids, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		if len(ids) == 0 {
			break
		}
		gone, err := a.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &name, Delete: &s3types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
		if err != nil {
			return asFault("emptying bucket "+name, err)
		}
		if len(gone.Errors) > 0 {
			return fault.New(fault.Forbidden, CodeForbidden, "bucket %s cannot be emptied: %s: %s", name, deref(gone.Errors[0].Key), deref(gone.Errors[0].Message))
		}
	}
	uploads := s3.NewListMultipartUploadsPaginator(a.s3, &s3.ListMultipartUploadsInput{Bucket: &name})
	for n := 0; uploads.HasMorePages() && n < maxPages; n++ {
		page, err := uploads.NextPage(ctx)
		if err != nil {
			return asFault("listing the uploads to bucket "+name, err)
		}
		for _, u := range page.Uploads {
			if _, err := a.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &name, Key: u.Key, UploadId: u.UploadId}); err != nil && !is(err, "NoSuchUpload") {
				return asFault("ending an upload to bucket "+name, err)
			}
		}
	}
	return nil
}

// ensurePolicy makes the policy of all APIs. One that is there stays as it is: it is there
// to be widened by hand.
func (a *Account) ensurePolicy(ctx context.Context, p *cluster.Policy, clusterName string) error {
	_, err := a.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &p.ARN})
	if err == nil || !is(err, noSuchEntity) {
		return asFault("reading policy "+p.Name, err)
	}
	text, err := json.Marshal(p.Document)
	if err != nil {
		return err
	}
	_, err = a.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{
		PolicyName: &p.Name, PolicyDocument: aws.String(string(text)),
		Description: aws.String("What all APIs of the Cortex cluster " + clusterName + " in " + a.Region + " may do: widen it to widen that"),
	})
	if is(err, "EntityAlreadyExists") {
		return nil
	}
	return asFault("making policy "+p.Name, err)
}
