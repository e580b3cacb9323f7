package awstest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// managedPolicy is a policy with an ARN.
type managedPolicy struct {
	name, arn, id string
	versions      []policyVersion // oldest first
	next          int
	created       time.Time
	aws           bool
}

type policyVersion struct {
	id, text  string
	isDefault bool
	created   time.Time
}

// managed finds a managed policy: the account's own, or AWS's.
func (a *Account) managed(arn string) (*managedPolicy, error) {
	if p := a.iam.policies[arn]; p != nil {
		return p, nil
	}
	prefix := "arn:" + a.partition + awsManagedOwner
	if name, ok := strings.CutPrefix(arn, prefix); ok && slices.Contains(managedByAWS, name) {
		return &managedPolicy{name: name, arn: arn, id: "ANPA" + strings.ToUpper(name), aws: true, versions: []policyVersion{{id: "v1", isDefault: true}}}, nil
	}
	return nil, noSuch("Policy %s does not exist or is not attachable.", arn)
}

func (a *Account) attachments(arn string) int {
	n := 0
	for _, r := range a.iam.roles {
		if slices.Contains(r.attached, arn) {
			n++
		}
	}
	return n
}

func (p *managedPolicy) defaultVersion() string {
	for _, v := range p.versions {
		if v.isDefault {
			return v.id
		}
	}
	return ""
}

func (p *managedPolicy) view(a *Account) object {
	return object{
		"PolicyName": p.name, "PolicyId": p.id, "Arn": p.arn, "Path": "/", "DefaultVersionId": p.defaultVersion(), "IsAttachable": true,
		"AttachmentCount": a.attachments(p.arn), "PermissionsBoundaryUsageCount": 0, "CreateDate": stamp(p.created), "UpdateDate": stamp(p.created),
	}
}

func checkManaged(text string) error {
	if _, err := parsePolicy(text, false); err != nil {
		return malformed(err)
	}
	if len(strings.Join(strings.Fields(text), "")) > maxPolicyText {
		return refuseAs(409, "LimitExceeded", "Cannot exceed quota for PolicySize: %d", maxPolicyText)
	}
	return nil
}

func createPolicy(c *call) (object, error) {
	name, text := c.in.text("PolicyName"), c.in.text("PolicyDocument")
	c.in.ignore("Description")
	if len(c.in.tags("Tags")) > 0 { // needs iam:TagPolicy
		if err := c.permitted(c.who, "iam:TagPolicy", onPolicy(c)[0], nil); err != nil {
			return nil, err
		}
	}
	arn := onPolicy(c)[0]
	if c.iam.policies[arn] != nil {
		return nil, refuseAs(409, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	if err := checkManaged(text); err != nil {
		return nil, err
	}
	p := &managedPolicy{name: name, arn: arn, id: "ANPA" + c.letters(idLetters, 17), created: c.clock.now, next: 2}
	p.versions = []policyVersion{{"v1", text, true, c.clock.now}}
	c.iam.policies[arn] = p
	c.made["policy"]++
	return object{"Policy": p.view(c.Account)}, nil
}

func getPolicy(c *call) (object, error) {
	p, err := c.managed(c.in.text("PolicyArn"))
	if err != nil {
		return nil, noSuch("Policy %s was not found.", c.in.text("PolicyArn"))
	}
	return object{"Policy": p.view(c.Account)}, nil
}

// own finds a policy of the account's own.
func (c *call) ownPolicy() (*managedPolicy, error) {
	p := c.iam.policies[c.in.text("PolicyArn")]
	if p == nil {
		return nil, noSuch("Policy %s was not found.", c.in.text("PolicyArn"))
	}
	return p, nil
}

func deletePolicy(c *call) (object, error) {
	p, err := c.ownPolicy()
	switch {
	case err != nil:
		return nil, err
	case c.attachments(p.arn) > 0:
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	case len(p.versions) > 1:
		return nil, refuseAs(409, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	}
	delete(c.iam.policies, p.arn)
	return nil, nil
}

func createPolicyVersion(c *call) (object, error) {
	p, err := c.ownPolicy()
	if err != nil {
		return nil, err
	}
	text := c.in.text("PolicyDocument")
	if err := checkManaged(text); err != nil {
		return nil, err
	}
	if len(p.versions) >= maxVersions {
		return nil, refuseAs(409, "LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
	}
	v := policyVersion{"v" + strconv.Itoa(p.next), text, c.in.flag("SetAsDefault"), c.clock.now}
	p.next++
	if v.isDefault {
		for i := range p.versions {
			p.versions[i].isDefault = false
		}
	}
	p.versions = append(p.versions, v)
	return object{"PolicyVersion": v.view(false)}, nil
}

func (v policyVersion) view(whole bool) object {
	o := object{"VersionId": v.id, "IsDefaultVersion": v.isDefault, "CreateDate": stamp(v.created)}
	if whole {
		o["Document"] = url.PathEscape(v.text)
	}
	return o
}

func getPolicyVersion(c *call) (object, error) {
	p, err := c.ownPolicy()
	if err != nil {
		return nil, err
	}
	for _, v := range p.versions {
		if v.id == c.in.text("VersionId") {
			return object{"PolicyVersion": v.view(true)}, nil
		}
	}
	return nil, noSuch("Policy %s version %s does not exist or is not attachable.", p.arn, c.in.text("VersionId"))
}

func listPolicyVersions(c *call) (object, error) {
	p, err := c.ownPolicy()
	if err != nil {
		return nil, err
	}
	var list []any
	for i := len(p.versions) - 1; i >= 0; i-- {
		list = append(list, p.versions[i].view(false))
	}
	return c.marked("Versions", list)
}

func deletePolicyVersion(c *call) (object, error) {
	p, err := c.ownPolicy()
	if err != nil {
		return nil, err
	}
	id := c.in.text("VersionId")
	at := slices.IndexFunc(p.versions, func(v policyVersion) bool { return v.id == id })
	switch {
	case at < 0:
		return nil, noSuch("Policy %s version %s does not exist or is not attachable.", p.arn, id)
	case p.versions[at].isDefault:
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete the default version of a policy.")
	}
	p.versions = slices.Delete(p.versions, at, at+1)
	return nil, nil
}
