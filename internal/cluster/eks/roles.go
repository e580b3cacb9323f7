package eks

import (
	"context"
	"encoding/json"
	"net/url"
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"cortex.dev/cortex/internal/cluster"
)

// spreading is how long IAM is given to know everywhere what it was told.
const spreading, spreadPause = 60 * time.Second, 3 * time.Second

// noSuchEntity is IAM's code for what is not there, or not yet.
const noSuchEntity = "NoSuchEntity"

// ensureRole makes a role and gives it what it is to have. What it has beyond that was
// given by hand, and stays.
func (a *Account) ensureRole(ctx context.Context, r *cluster.Role) error {
	now, err := a.role(ctx, r.Name)
	if err != nil {
		return err
	}
	owner := r.Tags[cluster.TagClusterName]
	has := map[string]bool{}
	switch {
	case now == nil:
		if err := a.createRole(ctx, r); err != nil {
			return err
		}
	case roleTag(now) != owner:
		return notOurs("role", r.Name, owner)
	default:
		if has, err = a.attached(ctx, r.Name); err != nil {
			return err
		}
	}
	for _, arn := range r.Attach {
		if has[arn] {
			continue
		}
		err := spread(ctx, func() error {
			_, err := a.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &r.Name, PolicyArn: &arn})
			return err
		}, noSuchEntity)
		if err != nil {
			return asFault("giving role "+r.Name+" the policy "+arn, err)
		}
	}
	for _, name := range sorted(r.Inline) {
		if err := a.inline(ctx, r.Name, name, r.Inline[name], now == nil); err != nil {
			return err
		}
	}
	if r.Profile {
		return a.ensureProfile(ctx, r.Name)
	}
	return nil
}

// spread repeats a call as long as AWS answers with a code that says that it does not know
// yet what it was told before.
func spread(ctx context.Context, call func() error, code string) error {
	end := time.Now().Add(spreading)
	for {
		err := call()
		if !is(err, code) || time.Now().After(end) {
			return err
		}
		if err := pause(ctx, spreadPause); err != nil {
			return err
		}
	}
}

func (a *Account) role(ctx context.Context, name string) (*iamtypes.Role, error) {
	out, err := a.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if is(err, noSuchEntity) {
		return nil, nil
	}
	if err != nil {
		return nil, asFault("reading role "+name, err)
	}
	return out.Role, nil
}

func roleTag(r *iamtypes.Role) string {
	for _, t := range r.Tags {
		if deref(t.Key) == cluster.TagClusterName {
			return deref(t.Value)
		}
	}
	return ""
}

func (a *Account) createRole(ctx context.Context, r *cluster.Role) error {
	trust, err := json.Marshal(r.Trust)
	if err != nil {
		return err
	}
	var tags []iamtypes.Tag
	for _, key := range sorted(r.Tags) {
		tags = append(tags, iamtypes.Tag{Key: aws.String(key), Value: aws.String(r.Tags[key])})
	}
	_, err = a.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &r.Name, AssumeRolePolicyDocument: aws.String(string(trust)), Tags: tags})
	if is(err, "EntityAlreadyExists") { // an answer that was lost
		return nil
	}
	return asFault("making role "+r.Name, err)
}

// attached are the ARNs of the policies that a role has; nil when there is no such role.
func (a *Account) attached(ctx context.Context, role string) (map[string]bool, error) {
	has := map[string]bool{}
	pages := iam.NewListAttachedRolePoliciesPaginator(a.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if is(err, noSuchEntity) {
			return nil, nil
		}
		if err != nil {
			return nil, asFault("reading the policies of role "+role, err)
		}
		for _, p := range page.AttachedPolicies {
			has[deref(p.PolicyArn)] = true
		}
	}
	return has, nil
}

// inline writes what a role may do, unless it may do that already.
func (a *Account) inline(ctx context.Context, role, name string, document *cluster.Document, fresh bool) error {
	if !fresh {
		same, err := a.inlineIs(ctx, role, name, document)
		if err != nil || same {
			return err
		}
	}
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	err = spread(ctx, func() error {
		_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: aws.String(string(text))})
		return err
	}, noSuchEntity)
	return asFault("saying what role "+role+" may do", err)
}

// inlineIs reports whether a role has an inline policy that says the same.
func (a *Account) inlineIs(ctx context.Context, role, name string, document *cluster.Document) (bool, error) {
	out, err := a.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
	if is(err, noSuchEntity) {
		return false, nil
	}
	if err != nil {
		return false, asFault("reading what role "+role+" may do", err)
	}
	text, err := url.QueryUnescape(deref(out.PolicyDocument))
	if err != nil {
		return false, nil //nolint:nilerr // it is none of ours, and is written anew
	}
	return sameJSON([]byte(text), document), nil
}

// sameJSON reports whether text says what v says.
func sameJSON(text []byte, v any) bool {
	should, err := json.Marshal(v)
	if err != nil {
		return false
	}
	var a, b any
	return json.Unmarshal(text, &a) == nil && json.Unmarshal(should, &b) == nil && reflect.DeepEqual(a, b)
}

// removeRole takes a role away with what it was given, where it is the cluster's.
func (a *Account) removeRole(ctx context.Context, name, clusterName string) error {
	r, err := a.role(ctx, name)
	if err != nil || r == nil {
		return err
	}
	if roleTag(r) != clusterName {
		return notOurs("role", name, clusterName)
	}
	if name == a.names(clusterName).Role("mixed") {
		if err := a.removeProfile(ctx, name); err != nil {
			return err
		}
	}
	has, err := a.attached(ctx, name)
	if err != nil {
		return err
	}
	for _, arn := range sorted(has) {
		if _, err := a.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: &arn}); err != nil && !is(err, noSuchEntity) {
			return asFault("taking the policy "+arn+" from role "+name, err)
		}
	}
	// Its inline policies cannot be listed with the published minimum policy: there is one.
	if _, err := a.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String(cluster.InlinePolicy)}); err != nil && !is(err, noSuchEntity) {
		return asFault("removing what role "+name+" may do", err)
	}
	if _, err := a.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}); err != nil && !is(err, noSuchEntity) {
		return asFault("removing role "+name, err)
	}
	return nil
}

// removePolicy takes a policy away with all its versions.
func (a *Account) removePolicy(ctx context.Context, arn string) error {
	pages := iam.NewListPolicyVersionsPaginator(a.iam, &iam.ListPolicyVersionsInput{PolicyArn: &arn})
	var versions []iamtypes.PolicyVersion
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if is(err, noSuchEntity) {
			return nil
		}
		if err != nil {
			return asFault("reading the versions of policy "+arn, err)
		}
		versions = append(versions, page.Versions...)
	}
	for _, v := range versions {
		if v.IsDefaultVersion {
			continue
		}
		if _, err := a.iam.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: v.VersionId}); err != nil && !is(err, noSuchEntity) {
			return asFault("removing a version of policy "+arn, err)
		}
	}
	_, err := a.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn})
	if is(err, noSuchEntity) {
		return nil
	}
	return asFault("removing policy "+arn, err)
}

// policyThere reports whether there is a policy.
func (a *Account) policyThere(ctx context.Context, arn string) (bool, error) {
	_, err := a.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
	if is(err, noSuchEntity) {
		return false, nil
	}
	return err == nil, asFault("reading policy "+arn, err)
}
