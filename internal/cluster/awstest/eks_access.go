package awstest

import (
	"slices"
	"strings"
	"time"
)

// accessEntry is what EKS knows of somebody who may use a cluster. It remembers who that
// was: a user who is made again under the same name is somebody else.
type accessEntry struct {
	view     object
	of       string // id of the user or role
	policies []object
	created  time.Time
}

// entryTakes is how long EKS needs until an entry is seen by everybody.
const entryTakes = 3 * time.Second

// nodeEntry is the type of entries of nodes that EKS does not manage.
const nodeEntry = "EC2_LINUX"

const clusterAdminPolicy = "AmazonEKSClusterAdminPolicy"

// accessPolicies are the policies of EKS that entries are given.
var accessPolicies = []string{clusterAdminPolicy, "AmazonEKSAdminPolicy", "AmazonEKSEditPolicy", "AmazonEKSViewPolicy", "AmazonEKSAdminViewPolicy"}

func (a *Account) accessPolicyARN(name string) string {
	return "arn:" + a.partition + ":eks::aws:cluster-access-policy/" + name
}

// identified returns the id of a user or a role of the account.
func (a *Account) identified(arn string) string {
	for _, all := range []map[string]*iamEntity{a.iam.users, a.iam.roles} {
		for _, e := range all {
			if e.arn == arn {
				return e.id
			}
		}
	}
	return ""
}

// bootstrap gives whoever makes a cluster an entry of an administrator.
func (k *eksCluster) bootstrap(c *call) {
	e := c.newEntry(k, c.canonical(c.who.arn), "STANDARD", nil, "")
	e.created = time.Time{} // it is there from the first
	e.policies = []object{c.associated(clusterAdminPolicy)}
}

// canonical is the ARN by which entries know somebody: that of a role, for its sessions.
func (a *Account) canonical(arn string) string {
	rest, ok := strings.CutPrefix(arn, "arn:"+a.partition+":sts::"+a.id+":assumed-role/")
	if !ok {
		return arn
	}
	name, _, _ := strings.Cut(rest, "/")
	if r := a.iam.roles[name]; r != nil {
		return r.arn
	}
	return a.iamARN("role/" + name)
}

// administrator reports whether an entry makes somebody an administrator, and still means
// the one whom it was made for.
func (k *eksCluster) administrator(a *Account, arn string) bool {
	e := k.entries[arn]
	return e.of != "" && a.identified(arn) == e.of &&
		slices.ContainsFunc(e.policies, func(p object) bool { return p["policyArn"] == a.accessPolicyARN(clusterAdminPolicy) })
}

func (c *call) associated(policy string) object {
	return object{
		"policyArn": c.accessPolicyARN(policy), "accessScope": object{"type": "cluster", "namespaces": []any{}}, "associatedAt": stamp(c.clock.now), "modifiedAt": stamp(c.clock.now),
	}
}

func (c *call) newEntry(k *eksCluster, arn, kind string, groups []string, username string) *accessEntry {
	parts := strings.Split(arn, ":")
	what, name, _ := strings.Cut(parts[len(parts)-1], "/")
	if username == "" {
		username = arn
		if what == "role" {
			username = strings.Replace(strings.Replace(arn, ":iam:", ":sts:", 1), ":role/", ":assumed-role/", 1) + "/{{SessionName}}"
		}
	}
	e := &accessEntry{of: c.identified(arn), created: c.clock.now, view: object{
		"clusterName": k.name, "principalArn": arn, "kubernetesGroups": anys(groups), "username": username, "type": kind, "tags": object{},
		"accessEntryArn": c.arn("eks", "access-entry/"+k.name+"/"+what+"/"+c.id+"/"+name+"/"+c.uuid()), "createdAt": stamp(c.clock.now), "modifiedAt": stamp(c.clock.now),
	}}
	k.entries[arn] = e
	c.made["access-entry"]++
	return e
}

func onEntry(c *call) []string {
	if k := c.eks.clusters[c.in.text("name")]; k != nil {
		if e := k.entries[c.in.text("principalArn")]; e != nil {
			return []string{textOf(e.view["accessEntryArn"])}
		}
	}
	arn := c.in.text("principalArn")
	what, name, _ := strings.Cut(arn[strings.LastIndex(arn, ":")+1:], "/")
	return []string{c.arn("eks", "access-entry/"+c.in.text("name")+"/"+what+"/"+c.id+"/"+name+"/*")}
}

// withEntries refuses what needs entries where the cluster has none.
func (c *call) withEntries() (*eksCluster, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	if k.view["accessConfig"].(object)["authenticationMode"] == "CONFIG_MAP" {
		return nil, badRequest("The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
	}
	return k, nil
}

// reserved begin the names that nobody may be given.
var reserved = []string{"system:", "eks:", "aws:", "amazon:", "iam:"}

func createEntry(c *call) (object, error) {
	k, err := c.withEntries()
	if err != nil {
		return nil, err
	}
	arn, kind, username := c.in.text("principalArn"), c.in.or("type", "STANDARD"), c.in.text("username")
	groups := c.in.texts("kubernetesGroups")
	c.in.ignore("clientRequestToken")
	tags := c.in.tagMap("tags")
	switch {
	case k.entries[arn] != nil:
		return nil, inUseByEKS("The specified access entry resource is already in use on this cluster.")
	case slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(g, "system:") }):
		return nil, badParameter("The kubernetes group name %s is invalid, it cannot start with system:", groups[0])
	case slices.ContainsFunc(reserved, func(p string) bool { return strings.HasPrefix(username, p) }):
		return nil, badParameter("The username %s is invalid, it cannot start with one of %s", username, strings.Join(reserved, ", "))
	case kind != "STANDARD" && kind != nodeEntry:
		return nil, notSimulated("entries of the type %s", kind)
	case kind == nodeEntry && (len(groups) > 0 || username != "" || !strings.Contains(arn, ":role/")):
		return nil, badParameter("The type EC2_LINUX is for roles, and takes neither a username nor groups")
	case strings.Contains(arn, ":sts:") || strings.Contains(arn, "/aws-service-role/"):
		return nil, badParameter("The principalArn parameter format is not valid")
	case c.identified(arn) == "":
		return nil, badParameter("The specified principalArn is invalid: invalid principal.")
	}
	if kind == nodeEntry {
		if err := c.usable(arn, c.ec2Principal(), "The specified principalArn is invalid: invalid principal."); err != nil {
			return nil, err
		}
		groups, username = []string{"system:nodes"}, "system:node:{{EC2PrivateDNSName}}"
	}
	e := c.newEntry(k, arn, kind, groups, username)
	e.view["tags"] = textMap(tags)
	return object{"accessEntry": e.view}, nil
}

func (c *call) entry() (*eksCluster, *accessEntry, error) {
	k, err := c.withEntries()
	if err != nil {
		return nil, nil, err
	}
	arn := c.in.text("principalArn")
	e := k.entries[arn]
	if e == nil || c.op.name != "DeleteAccessEntry" && c.clock.now.Sub(e.created) < entryTakes {
		return nil, nil, notFoundByEKS("The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.")
	}
	return k, e, nil
}

func describeEntry(c *call) (object, error) {
	_, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	return object{"accessEntry": e.view}, nil
}

func updateEntry(c *call) (object, error) {
	_, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	if c.in.has("kubernetesGroups") {
		e.view["kubernetesGroups"] = anys(c.in.texts("kubernetesGroups"))
	}
	if u := c.in.text("username"); u != "" {
		e.view["username"] = u
	}
	return object{"accessEntry": e.view}, nil
}

func deleteEntry(c *call) (object, error) {
	k, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	delete(k.entries, textOf(e.view["principalArn"]))
	return nil, nil
}

func listEntries(c *call) (object, error) {
	k, err := c.withEntries()
	if err != nil {
		return nil, err
	}
	with := c.in.text("associatedPolicyArn")
	var list []string
	for _, arn := range sorted(k.entries) {
		e := k.entries[arn]
		if with == "" || slices.ContainsFunc(e.policies, func(p object) bool { return p["policyArn"] == with }) {
			list = append(list, arn)
		}
	}
	return c.names("accessEntries", list)
}

func associatePolicy(c *call) (object, error) {
	k, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	arn, scope := c.in.text("policyArn"), c.in.object("accessScope")
	if e.view["type"] != "STANDARD" {
		return nil, badRequest("Access policies are for entries of the type STANDARD")
	}
	kind, namespaces := scope.text("type"), scope.texts("namespaces")
	name := arn[strings.LastIndex(arn, "/")+1:]
	if !slices.Contains(accessPolicies, name) || arn != c.accessPolicyARN(name) {
		return nil, badParameter("The policyArn parameter format is not valid")
	}
	if kind != "cluster" && kind != "namespace" {
		return nil, badParameter("The accessScope type %q is not valid", kind)
	}
	p := c.associated(name)
	p["accessScope"] = object{"type": kind, "namespaces": anys(namespaces)}
	e.policies = slices.DeleteFunc(e.policies, func(o object) bool { return o["policyArn"] == arn })
	e.policies = append(e.policies, p)
	return object{"clusterName": k.name, "principalArn": e.view["principalArn"], "associatedAccessPolicy": p}, nil
}

func disassociatePolicy(c *call) (object, error) {
	_, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	arn := c.in.text("policyArn")
	n := len(e.policies)
	e.policies = slices.DeleteFunc(e.policies, func(o object) bool { return o["policyArn"] == arn })
	if len(e.policies) == n {
		return nil, notFoundByEKS("The specified policyArn is not associated with the access entry.")
	}
	return nil, nil
}

func listAssociated(c *call) (object, error) {
	k, e, err := c.entry()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, p := range e.policies {
		list = append(list, p)
	}
	part, next, err := c.page(list, "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{"clusterName": k.name, "principalArn": e.view["principalArn"], "associatedAccessPolicies": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

// Administrators are the ARNs of those who are administrators of a cluster by its access
// entries, and whom these still mean.
func (a *Account) Administrators(cluster string) []string {
	defer a.locked()()
	k := a.eks.clusters[cluster]
	if k == nil {
		return nil
	}
	var list []string
	for _, arn := range sorted(k.entries) {
		if k.administrator(a, arn) {
			list = append(list, arn)
		}
	}
	return list
}

// AuthMap are the roles that EKS itself has written into the ConfigMap aws-auth of a
// cluster: without them its nodes are nobody.
func (a *Account) AuthMap(cluster string) []string {
	defer a.locked()()
	if k := a.eks.clusters[cluster]; k != nil {
		return slices.Clone(k.authMap)
	}
	return nil
}
