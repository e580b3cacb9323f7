package eks

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// Stable codes of grant and revoke.
const (
	CodeNotGrantable      = "access.not_grantable"
	CodeNotGranted        = "access.not_granted"
	CodeLastAdministrator = "access.last_administrator"
)

// How somebody has access.
const byEntry, byMap = "access entry", "aws-auth"

// mastersGroup is the group of administrators in aws-auth. An access entry cannot name it.
const mastersGroup = "system:masters"

// adminPolicy is the access policy of administrators.
func (a *Account) adminPolicy() string {
	return "arn:" + cluster.PartitionOf(a.Region) + ":eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
}

// principal is the ARN of a user or a role as an access entry wants it: a role with its
// path, never a session of it.
func (a *Account) principal(ctx context.Context, text string) (string, error) {
	bad := func(why string) error {
		return fault.New(fault.Invalid, CodeNotGrantable, "%s %s", text, why).
			WithHint("name a user or a role of account %s, such as arn:%s:iam::%s:role/Admins", a.ID, cluster.PartitionOf(a.Region), a.ID)
	}
	parsed, err := arn.Parse(text)
	if err != nil {
		return "", bad("is no ARN")
	}
	kind, rest, _ := strings.Cut(parsed.Resource, "/")
	switch {
	case parsed.Partition != cluster.PartitionOf(a.Region):
		return "", bad("is of another partition of AWS than the cluster")
	case parsed.AccountID != a.ID:
		return "", bad("is of another account than the cluster")
	case parsed.Service == "iam" && kind == "user" && rest != "":
		return text, nil
	case parsed.Service == "iam" && kind == "role" && strings.HasPrefix(rest, "aws-service-role/"):
		return "", bad("is a role of a service of AWS, which EKS does not take")
	case parsed.Service == "iam" && kind == "role" && rest != "":
		return a.roleARN(ctx, text, rest[strings.LastIndex(rest, "/")+1:])
	case parsed.Service == "sts" && kind == "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		return a.roleARN(ctx, text, name)
	}
	return "", bad("is neither a user nor a role")
}

// roleARN is the whole ARN of a role, its path included. A session's ARN has no path.
func (a *Account) roleARN(ctx context.Context, text, name string) (string, error) {
	r, err := a.role(ctx, name)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", fault.New(fault.NotFound, CodeNotGrantable, "%s: there is no role %s in account %s", text, name, a.ID).WithHint("`aws iam get-role --role-name %s` looks for it", name)
	}
	return deref(r.Arn), nil
}

// samePrincipal reports whether a line of aws-auth means a principal: roles stand there
// without their path, users with it. In which case letters are counts for nobody: the
// authenticator does not look, and IAM has no two names that differ in nothing else.
func samePrincipal(m Mapping, principal string) bool {
	if strings.EqualFold(m.ARN, principal) {
		return true
	}
	x, errX := arn.Parse(m.ARN)
	y, errY := arn.Parse(principal)
	if errX != nil || errY != nil || x.AccountID != y.AccountID || x.Partition != y.Partition {
		return false
	}
	name := func(resource string) (string, bool) {
		path, is := strings.CutPrefix(resource, "role/")
		return path[strings.LastIndex(path, "/")+1:], is
	}
	xName, xIs := name(x.Resource)
	yName, yIs := name(y.Resource)
	return xIs && yIs && strings.EqualFold(xName, yName)
}

// counts reports whether a line of aws-auth gives anybody anything: STS tells of a role
// without its path, so that one with a path is nobody.
func (m Mapping) counts() bool {
	parsed, err := arn.Parse(m.ARN)
	return err == nil && !(strings.HasPrefix(parsed.Resource, "role/") && strings.Count(parsed.Resource, "/") > 1)
}

// Grant makes a user or a role an administrator of a cluster, and returns its ARN as EKS
// has it.
func (a *Account) Grant(ctx context.Context, name, who string) (string, error) {
	if _, err := a.ownPlace(ctx, name); err != nil {
		return "", err
	}
	principal, err := a.principal(ctx, who)
	if err != nil {
		return "", err
	}
	_, err = a.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: &name, PrincipalArn: &principal, Type: aws.String("STANDARD")})
	if is(err, "InvalidParameterException") {
		return "", fault.New(fault.Invalid, CodeNotGrantable, "%s: %s", principal, textOf(err)).WithHint("the user or the role has to exist, and a user stands with its path, as in user/team/alice: `aws iam get-user` shows it. IAM may need some seconds to spread a new one")
	}
	if err != nil && !is(err, "ResourceInUseException") {
		return "", asFault("granting access to "+principal, err)
	}
	// EKS needs some seconds until it knows of the entry that it has made.
	err = spread(ctx, func() error {
		_, err := a.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{
			ClusterName: &name, PrincipalArn: &principal, PolicyArn: aws.String(a.adminPolicy()), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster},
		})
		return err
	}, "ResourceNotFoundException")
	return principal, asFault("granting access to "+principal, err)
}

// Administrators are those who may administer a cluster, by whichever way.
func (a *Account) Administrators(ctx context.Context, name string) ([]cluster.Access, error) {
	at, err := a.place(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, err := a.entries(ctx, name)
	if err != nil {
		return nil, err
	}
	mapped, err := a.kube.Mapped(ctx, at)
	if err != nil {
		return nil, err
	}
	var all []cluster.Access
	for _, principal := range sorted(entries) {
		if entries[principal] {
			all = append(all, cluster.Access{ARN: principal, By: []string{byEntry}})
		}
	}
	for _, m := range mapped {
		if !slices.Contains(m.Groups, mastersGroup) || !m.counts() {
			continue
		}
		i := slices.IndexFunc(all, func(x cluster.Access) bool { return samePrincipal(m, x.ARN) })
		if i < 0 {
			all = append(all, cluster.Access{ARN: m.ARN, By: []string{byMap}})
			continue
		}
		all[i].By = append(all[i].By, byMap)
	}
	return all, nil
}

// entries are the principals that have an access entry, and whether it makes them an
// administrator.
func (a *Account) entries(ctx context.Context, name string) (map[string]bool, error) {
	all := map[string]bool{}
	pages := eks.NewListAccessEntriesPaginator(a.eks, &eks.ListAccessEntriesInput{ClusterName: &name})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing who has access to cluster "+name, err)
		}
		for _, principal := range page.AccessEntries {
			all[principal] = false
		}
	}
	for principal := range all {
		policies := eks.NewListAssociatedAccessPoliciesPaginator(a.eks, &eks.ListAssociatedAccessPoliciesInput{ClusterName: &name, PrincipalArn: &principal})
		for n := 0; policies.HasMorePages() && n < maxPages; n++ {
			page, err := policies.NextPage(ctx)
			if is(err, "ResourceNotFoundException") {
				break // gone since it was listed
			}
			if err != nil {
				return nil, asFault("reading what access "+principal+" has", err)
			}
			for _, p := range page.AssociatedAccessPolicies {
				cluster := p.AccessScope != nil && p.AccessScope.Type == ekstypes.AccessScopeTypeCluster
				all[principal] = all[principal] || deref(p.PolicyArn) == a.adminPolicy() && cluster
			}
		}
	}
	return all, nil
}

// Revoke takes from a user or a role every way in that it has to a cluster: its access
// entry, and its lines of aws-auth, which the entry only covers. The last administrator
// stays.
func (a *Account) Revoke(ctx context.Context, name, who string) (removed []string, err error) {
	at, err := a.ownPlace(ctx, name)
	if err != nil {
		return nil, err
	}
	principal, err := a.principal(ctx, who)
	if fault.Is(err, fault.NotFound) {
		principal = who // a role that is gone may have left its access behind
	} else if err != nil {
		return nil, err
	}
	before, err := a.Administrators(ctx, name)
	if err != nil {
		return nil, err
	}
	others := slices.ContainsFunc(before, func(x cluster.Access) bool { return !samePrincipal(Mapping{ARN: x.ARN}, principal) })
	if len(before) > 0 && !others {
		return nil, fault.New(fault.Conflict, CodeLastAdministrator, "%s is the last administrator of cluster %s: without one nobody could ever change it again", principal, name).
			WithHint("`cortex cluster grant ARN` makes somebody else one first")
	}
	entries, err := a.entries(ctx, name)
	if err != nil {
		return nil, err
	}
	for entry := range entries {
		if !samePrincipal(Mapping{ARN: entry}, principal) {
			continue
		}
		if _, err := a.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: &name, PrincipalArn: &entry}); err != nil && !is(err, "ResourceNotFoundException") {
			return removed, asFault("revoking the access of "+entry, err)
		}
		removed = append(removed, byEntry)
	}
	mapped, err := a.kube.Mapped(ctx, at)
	if err != nil {
		return removed, err
	}
	var lines []Mapping
	for _, m := range mapped {
		if samePrincipal(m, principal) {
			lines = append(lines, m)
		}
	}
	if len(lines) > 0 {
		if err := a.kube.Unmap(ctx, at, lines); err != nil {
			return removed, err
		}
		removed = append(removed, byMap)
	}
	if len(removed) == 0 {
		return nil, fault.New(fault.NotFound, CodeNotGranted, "%s has no access to cluster %s", principal, name).
			WithHint("these have: %s", strings.Join(administrators(before), ", "))
	}
	return removed, nil
}

func administrators(all []cluster.Access) (arns []string) {
	for _, x := range all {
		arns = append(arns, x.ARN)
	}
	return arns
}
