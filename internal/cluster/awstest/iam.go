package awstest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// iamState is what IAM knows.
type iamState struct {
	users    map[string]*iamEntity // by name
	roles    map[string]*iamEntity
	policies map[string]*managedPolicy // by ARN
	linked   map[string]bool           // services that have their role
	profiles map[string]*instanceProfile
}

// iamEntity is a user or a role.
type iamEntity struct {
	name, path, arn, id string
	trust               string
	trustPolicy         *policy
	tags                map[string]string
	attached            []string
	inline              map[string]string
	created             time.Time
	changed             time.Time // other services know of it a little later
	service             bool      // nobody's to delete
}

// Limits of IAM.
const (
	maxAttached     = 10
	maxVersions     = 5
	maxPolicyText   = 6144
	maxInlineText   = 10240
	maxRoleName     = 64
	awsManagedOwner = ":iam::aws:policy/"
)

// managedByAWS are the policies of AWS that clusters are given.
var managedByAWS = []string{
	"AmazonEKSClusterPolicy", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEC2ContainerRegistryReadOnly",
	"AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "AmazonSQSFullAccess", "AmazonDynamoDBFullAccess", "AdministratorAccess", "ReadOnlyAccess",
}

func newIAM() iamState {
	return iamState{users: map[string]*iamEntity{}, roles: map[string]*iamEntity{}, policies: map[string]*managedPolicy{}, linked: map[string]bool{}, profiles: map[string]*instanceProfile{}}
}

func (i *iamState) user(a *Account, name string) *iamEntity {
	u := i.users[name]
	if u == nil {
		u = &iamEntity{name: name, path: "/", arn: a.iamARN("user/" + name), id: "AIDA" + a.letters(idLetters, 17), created: a.clock.now}
		i.users[name] = u
	}
	return u
}

// RemoveUser removes a user; one who gets the name later is another.
func (a *Account) RemoveUser(name string) {
	defer a.locked()()
	delete(a.iam.users, name)
	for id, p := range a.identities {
		if p.arn == a.iamARN("user/"+name) {
			delete(a.identities, id)
		}
	}
}

func noSuch(format string, args ...any) error { return refuseAs(404, "NoSuchEntity", format, args...) }

func onRole(c *call) []string {
	if r := c.iam.roles[c.in.text("RoleName")]; r != nil {
		return []string{r.arn}
	}
	return []string{c.iamARN("role" + c.in.or("Path", "/") + c.in.text("RoleName"))}
}

func onPolicy(c *call) []string {
	if arn := c.in.text("PolicyArn"); arn != "" {
		return []string{arn}
	}
	return []string{c.iamARN("policy" + c.in.or("Path", "/") + c.in.text("PolicyName"))}
}

// onAttached is the role, with the policy as a condition key.
func onAttached(c *call) []string {
	c.context = map[string]string{"iam:PolicyARN": c.in.text("PolicyArn")}
	return onRole(c)
}

func onLinked(c *call) []string {
	service := c.in.text("AWSServiceName")
	c.context = map[string]string{"iam:AWSServiceName": service}
	return []string{c.iamARN("role/aws-service-role/" + service + "/AWSServiceRole")}
}

var iamService = &service{
	name: "iam", global: true, version: "2010-05-08", namespace: "https://iam.amazonaws.com/doc/2010-05-08/", protocol: query{}, errors: wordsQuery,
	operations: []operation{
		{name: "CreateRole", do: createRole, on: onRole},
		{name: "GetRole", do: getRole, on: onRole},
		{name: "DeleteRole", do: deleteRole, on: onRole},
		{name: "TagRole", do: tagRole, on: onRole},
		{name: "ListRoleTags", do: listRoleTags, on: onRole},
		{name: "UpdateAssumeRolePolicy", do: updateTrust, on: onRole},
		{name: "PutRolePolicy", do: putRolePolicy, on: onRole},
		{name: "GetRolePolicy", do: getRolePolicy, on: onRole},
		{name: "ListRolePolicies", do: listRolePolicies, on: onRole},
		{name: "DeleteRolePolicy", do: deleteRolePolicy, on: onRole},
		{name: "AttachRolePolicy", do: attachRolePolicy, on: onAttached},
		{name: "DetachRolePolicy", do: detachRolePolicy, on: onAttached},
		{name: "ListAttachedRolePolicies", do: listAttached, on: onRole},
		{name: "CreateInstanceProfile", do: createProfile, on: onProfile},
		{name: "GetInstanceProfile", do: getProfile, on: onProfile},
		{name: "AddRoleToInstanceProfile", do: addRoleToProfile, on: onProfile},
		{name: "RemoveRoleFromInstanceProfile", do: removeRoleFromProfile, on: onProfile},
		{name: "DeleteInstanceProfile", do: deleteProfile, on: onProfile},
		{name: "ListInstanceProfilesForRole", do: listInstanceProfiles, on: onRole},
		{name: "ListRoles", do: listRoles},
		{name: "GetUser", do: getUser, on: func(c *call) []string { return []string{c.iamARN("user/" + c.in.text("UserName"))} }},
		{name: "CreateServiceLinkedRole", do: createLinkedRole, on: onLinked},
		{name: "CreatePolicy", do: createPolicy, on: onPolicy},
		{name: "GetPolicy", do: getPolicy, on: onPolicy},
		{name: "DeletePolicy", do: deletePolicy, on: onPolicy},
		{name: "CreatePolicyVersion", do: createPolicyVersion, on: onPolicy},
		{name: "GetPolicyVersion", do: getPolicyVersion, on: onPolicy},
		{name: "ListPolicyVersions", do: listPolicyVersions, on: onPolicy},
		{name: "DeletePolicyVersion", do: deletePolicyVersion, on: onPolicy},
	},
}

func (c *call) role() (*iamEntity, error) {
	name := c.in.text("RoleName")
	r := c.iam.roles[name]
	if r == nil {
		return nil, noSuch("The role with name %s cannot be found.", name)
	}
	return r, nil
}

func malformed(err error) error { return refuse("MalformedPolicyDocument", "%s", err) }

func createRole(c *call) (object, error) {
	name, text := c.in.text("RoleName"), c.in.text("AssumeRolePolicyDocument")
	c.in.ignore("Description", "MaxSessionDuration")
	if len(name) > maxRoleName || name == "" {
		return nil, refuse("ValidationError", "1 validation error detected: Value '%s' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to %d", name, maxRoleName)
	}
	if c.iam.roles[name] != nil {
		return nil, refuseAs(409, "EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	trust, err := parsePolicy(text, true)
	if err != nil {
		return nil, malformed(err)
	}
	for _, s := range trust.statements {
		for _, service := range s.principals["Service"] {
			if !strings.HasSuffix(service, ".amazonaws.com") && !strings.HasSuffix(service, "."+c.suffix) {
				return nil, refuse("MalformedPolicyDocument", `Invalid principal in policy: "SERVICE":"%s"`, service)
			}
		}
	}
	r := c.newRole(name, c.in.or("Path", "/"), text, trust)
	r.tags = c.in.tags("Tags")
	c.made["role"]++
	return object{"Role": r.view()}, nil
}

func (a *Account) newRole(name, path, text string, trust *policy) *iamEntity {
	r := &iamEntity{
		name: name, path: path, arn: a.iamARN("role" + path + name), id: "AROA" + a.letters(idLetters, 17), trust: text, trustPolicy: trust,
		inline: map[string]string{}, tags: map[string]string{}, created: a.clock.now, changed: a.clock.now,
	}
	a.iam.roles[name] = r
	return r
}

func (r *iamEntity) view() object {
	return object{
		"RoleName": r.name, "RoleId": r.id, "Arn": r.arn, "Path": r.path, "CreateDate": stamp(r.created), "MaxSessionDuration": 3600,
		"AssumeRolePolicyDocument": url.PathEscape(r.trust), "Tags": tagList(r.tags, "Key", "Value"),
	}
}

func getRole(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	return object{"Role": r.view()}, nil
}

func deleteRole(c *call) (object, error) {
	r, err := c.role()
	switch {
	case err != nil:
		return nil, err
	case len(r.attached) > 0:
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	case len(r.inline) > 0:
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	case len(c.profilesOf(r.name)) > 0:
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
	}
	delete(c.iam.roles, r.name)
	return nil, nil
}

func tagRole(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	for k, v := range c.in.tags("Tags") {
		r.tags[k] = v
	}
	return nil, nil
}

func listRoleTags(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	return c.marked("Tags", tagList(r.tags, "Key", "Value"))
}

func updateTrust(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	text := c.in.text("PolicyDocument")
	trust, err := parsePolicy(text, true)
	if err != nil {
		return nil, malformed(err)
	}
	r.trust, r.trustPolicy, r.changed = text, trust, c.clock.now
	return nil, nil
}

func putRolePolicy(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	name, text := c.in.text("PolicyName"), c.in.text("PolicyDocument")
	if _, err := parsePolicy(text, false); err != nil {
		return nil, malformed(err)
	}
	size := len(text)
	for n, other := range r.inline {
		if n != name {
			size += len(other)
		}
	}
	if size > maxInlineText {
		return nil, refuseAs(409, "LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s", maxInlineText, r.name)
	}
	r.inline[name] = text
	return nil, nil
}

func getRolePolicy(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	name := c.in.text("PolicyName")
	text, ok := r.inline[name]
	if !ok {
		return nil, noSuch("The role policy with name %s cannot be found.", name)
	}
	return object{"RoleName": r.name, "PolicyName": name, "PolicyDocument": url.PathEscape(text)}, nil
}

func listRolePolicies(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	return c.marked("PolicyNames", anys(sorted(r.inline)))
}

func deleteRolePolicy(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	name := c.in.text("PolicyName")
	if _, ok := r.inline[name]; !ok {
		return nil, noSuch("The role policy with name %s cannot be found.", name)
	}
	delete(r.inline, name)
	return nil, nil
}

func attachRolePolicy(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	p, err := c.managed(c.in.text("PolicyArn"))
	if err != nil {
		return nil, err
	}
	if slices.Contains(r.attached, p.arn) {
		return nil, nil
	}
	if len(r.attached) >= maxAttached {
		return nil, refuseAs(409, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: %d", maxAttached)
	}
	r.attached = append(r.attached, p.arn)
	return nil, nil
}

func detachRolePolicy(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	arn := c.in.text("PolicyArn")
	at := slices.Index(r.attached, arn)
	if at < 0 {
		return nil, noSuch("Policy %s was not found.", arn)
	}
	r.attached = slices.Delete(r.attached, at, at+1)
	return nil, nil
}

func listAttached(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, arn := range r.attached {
		list = append(list, object{"PolicyArn": arn, "PolicyName": arn[strings.LastIndex(arn, "/")+1:]})
	}
	return c.marked("AttachedPolicies", list)
}

// marked is a list of IAM, cut where the caller's marker says.
func (c *call) marked(name string, list []any) (object, error) {
	part, next, err := c.page(list, "Marker", "MaxItems")
	if err != nil {
		return nil, err
	}
	out := object{name: append([]any{}, part...), "IsTruncated": next != ""}
	set(out, "Marker", next)
	return out, nil
}

func listRoles(c *call) (object, error) {
	var list []any
	for _, name := range sorted(c.iam.roles) {
		list = append(list, c.iam.roles[name].view())
	}
	return c.marked("Roles", list)
}

func getUser(c *call) (object, error) {
	u := c.iam.users[c.in.text("UserName")]
	if u == nil {
		return nil, noSuch("The user with name %s cannot be found.", c.in.text("UserName"))
	}
	return object{"User": object{"UserName": u.name, "UserId": u.id, "Arn": u.arn, "Path": u.path, "CreateDate": stamp(u.created)}}, nil
}

func createLinkedRole(c *call) (object, error) {
	service := c.in.text("AWSServiceName")
	c.in.ignore("Description")
	if c.iam.linked[service] {
		return nil, refuse("InvalidInput", "Service role name AWSServiceRole for %s has been taken in this account, please try a different suffix.", service)
	}
	c.iam.linked[service] = true
	r := &iamEntity{name: "AWSServiceRoleFor" + strings.Split(service, ".")[0], path: "/aws-service-role/" + service + "/", created: c.clock.now, id: "AROA" + c.letters(idLetters, 17)}
	r.arn = c.iamARN("role" + r.path + r.name)
	return object{"Role": r.view()}, nil
}
