package awstest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// eksState is what EKS knows.
type eksState struct {
	clusters map[string]*eksCluster
	imagesOf string // the day of the newest images
	images   map[string]handedImage
	insights []insight
}

// eksCluster is a control plane and everything that EKS keeps with it. What is shown of
// each thing is kept in the form in which it is shown.
type eksCluster struct {
	name       string
	view       object
	group      string // its security group
	interfaces []string
	nodegroups map[string]*nodegroup
	addons     map[string]object
	identities map[string]object
	entries    map[string]*accessEntry
	updates    map[string]object
	order      []string // of updates
	// authMap are the roles that EKS itself has written into the ConfigMap aws-auth.
	authMap []string
}

// How long EKS takes.
const (
	clusterTakes        = 9 * time.Minute
	clusterGoneTakes    = 4 * time.Minute
	clusterUpdateTakes  = 10 * time.Minute
	clusterConfigTakes  = 3 * time.Minute
	nodeJoins           = 60 * time.Second
	nodegroupUpdateTake = 4 * time.Minute
	scalingTakes        = 15 * time.Second
	addonTakes          = 40 * time.Second
	addonGoneTakes      = 15 * time.Second
	nodesGiveUp         = 20 * time.Minute
)

const (
	quotaClusters   = "L-1194D53C"
	quotaNodegroups = "L-6D54EA21"
)

// EKS's own words for the errors that it makes.
func inUseByEKS(format string, args ...any) error {
	return refuseAs(http.StatusConflict, "ResourceInUseException", format, args...)
}

func notFoundByEKS(format string, args ...any) error {
	return refuseAs(http.StatusNotFound, "ResourceNotFoundException", format, args...)
}

func badParameter(format string, args ...any) error {
	return refuse("InvalidParameterException", format, args...)
}

func badRequest(format string, args ...any) error {
	return refuse("InvalidRequestException", format, args...)
}

func onCluster(c *call) []string { return []string{c.arn("eks", "cluster/"+c.in.or("name", "*"))} }

func (c *call) cluster() (*eksCluster, error) {
	name := c.in.text("name")
	k := c.eks.clusters[name]
	if k == nil {
		return nil, notFoundByEKS("No cluster found for name: %s.", name)
	}
	return k, nil
}

func (k *eksCluster) status() string { return textOf(k.view["status"]) }

func (k *eksCluster) version() string { return textOf(k.view["version"]) }

// active refuses what needs a control plane that works.
func (k *eksCluster) active() error {
	switch k.status() {
	case "ACTIVE":
		return nil
	case "UPDATING":
		return inUseByEKS("Cluster %s currently has an update in progress", k.name)
	}
	return badRequest("Cluster '%s' is not in ACTIVE status", k.name)
}

// usable refuses a role that a service cannot take on (yet), and a caller who may not pass it.
func (c *call) usable(arn, service string, complaint string) error {
	if err := c.passes(arn, service); err != nil {
		return err
	}
	role := c.iam.roles[arn[strings.LastIndex(arn, "/")+1:]]
	if role == nil || role.arn != arn || c.clock.now.Sub(role.changed) < c.o.Propagation || !role.trusts(service) {
		return badParameter(complaint, arn)
	}
	return nil
}

// handedImage is an image by whose id somebody was told.
type handedImage struct{ version, kind string }

// passes asks whether the caller may hand a role to a service.
func (c *call) passes(arn, service string) error {
	context := map[string]string{"iam:PassedToService": service}
	err := c.permitted(c.who, "iam:PassRole", arn, context)
	c.note(Call{Service: "iam", Action: "PassRole", Resources: []string{arn}, Principal: c.who.arn, Implied: true, Context: context, Result: codeOf(err)})
	if err != nil {
		return c.denied(err)
	}
	return nil
}

func (r *iamEntity) trusts(service string) bool {
	return r.trustPolicy != nil && slices.ContainsFunc(r.trustPolicy.statements, func(s statement) bool {
		return s.allow && slices.Contains(s.principals["Service"], service) && anyLike(s.actions, "sts:AssumeRole", true)
	})
}

// linked makes the role of a service that the account does not have yet.
func (c *call) linked(service string) error {
	if c.iam.linked[service] {
		return nil
	}
	arn := c.iamARN("role/aws-service-role/" + service + "/AWSServiceRole")
	context := map[string]string{"iam:AWSServiceName": service}
	err := c.permitted(c.who, "iam:CreateServiceLinkedRole", arn, context)
	c.note(Call{Service: "iam", Action: "CreateServiceLinkedRole", Resources: []string{arn}, Principal: c.who.arn, Implied: true, Context: context, Result: codeOf(err)})
	if err != nil {
		return c.denied(err)
	}
	c.iam.linked[service] = true
	return nil
}

// avoided are zones in which EKS makes no control planes.
var avoided = []string{"use1-az3", "usw1-az2", "cac1-az3"}

// clusterSubnets checks the subnets of a control plane.
func (c *call) clusterSubnets(name string, ids []string) ([]*record, error) {
	var list []*record
	zones := map[string]bool{}
	for _, id := range ids {
		s, err := c.byID("subnet", id)
		if err != nil {
			return nil, badParameter("The subnet ID '%s' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)", id)
		}
		if slices.Contains(avoided, s.text("availabilityZoneId")) {
			return nil, refuse("UnsupportedAvailabilityZoneException", "Cannot create cluster '%s' because EKS does not support creating control plane instances in %s, the targeted availability zone. Retry cluster creation using control plane subnets that span at least two of these availability zones: %s.", name, s.text("availabilityZone"), c.zoneNames())
		}
		zones[s.text("availabilityZone")] = true
		list = append(list, s)
	}
	if len(zones) < 2 {
		return nil, badParameter("Subnets specified must be in at least two different AZs")
	}
	return list, nil
}

func createCluster(c *call) (object, error) {
	name := c.in.text("name")
	switch {
	case c.eks.clusters[name] != nil:
		return nil, inUseByEKS("Cluster already exists with name: %s", name)
	case len(c.eks.clusters) >= c.quota("eks", quotaClusters):
		return nil, refuse("ResourceLimitExceededException", "Cluster limit exceeded for account.")
	}
	version := c.in.or("version", defaultVersion().name)
	if v := versionNamed(version); v == nil || v.status == "UNSUPPORTED" {
		return nil, badParameter("unsupported Kubernetes version %s", version)
	}
	vpcConfig := c.in.object("resourcesVpcConfig")
	subnets, err := c.clusterSubnets(name, vpcConfig.texts("subnetIds"))
	if err != nil {
		return nil, err
	}
	role := c.in.text("roleArn")
	if err := c.usable(role, "eks.amazonaws.com", "Role with arn: %s, could not be assumed because it does not exist or the trusted entity is not correct"); err != nil {
		return nil, err
	}
	if err := c.linked("eks.amazonaws.com"); err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	k := &eksCluster{name: name, nodegroups: map[string]*nodegroup{}, addons: map[string]object{}, identities: map[string]object{}, entries: map[string]*accessEntry{}, updates: map[string]object{}}
	tags := c.in.tagMap("tags")
	vpc := subnets[0].text("vpcId")
	k.view = object{
		"name": name, "arn": c.arn("eks", "cluster/"+name), "version": version, "platformVersion": "eks.1", "status": "CREATING", "roleArn": role, "createdAt": stamp(c.clock.now),
		"tags": textMap(tags), "health": object{"issues": []any{}}, "deletionProtection": c.in.flag("deletionProtection"),
		"resourcesVpcConfig": object{
			"subnetIds": anys(vpcConfig.texts("subnetIds")), "securityGroupIds": []any{}, "vpcId": vpc, "endpointPublicAccess": vpcConfig.or("endpointPublicAccess", "true") == "true",
			"endpointPrivateAccess": vpcConfig.flag("endpointPrivateAccess"), "publicAccessCidrs": orAnywhere(vpcConfig.texts("publicAccessCidrs")),
		},
	}
	network := c.in.object("kubernetesNetworkConfig")
	k.view["kubernetesNetworkConfig"] = object{"serviceIpv4Cidr": network.or("serviceIpv4Cidr", "10.100.0.0/16"), "ipFamily": network.or("ipFamily", "ipv4")}
	access := c.in.object("accessConfig")
	k.view["accessConfig"] = object{"authenticationMode": access.or("authenticationMode", "CONFIG_MAP")}
	k.view["upgradePolicy"] = object{"supportType": c.in.object("upgradePolicy").or("supportType", "EXTENDED")}
	if c.in.or("bootstrapSelfManagedAddons", "true") == "true" {
		return nil, notSimulated("add-ons that EKS makes by itself")
	}
	if access.or("bootstrapClusterCreatorAdminPermissions", "true") == "true" {
		k.bootstrap(c)
	}
	c.eks.clusters[name] = k
	c.made["cluster"]++
	c.begin(k, subnets, vpc)
	return object{"cluster": k.view}, nil
}

func orAnywhere(list []string) []any {
	if len(list) == 0 {
		return []any{"0.0.0.0/0"}
	}
	return anys(list)
}

func textMap(tags map[string]string) object {
	o := object{}
	for k, v := range tags {
		o[k] = v
	}
	return o
}

// begin has a control plane come up.
func (c *call) begin(k *eksCluster, subnets []*record, vpc string) {
	c.clock.after(20*time.Second, func() {
		group := c.newGroup("eks-cluster-sg-"+k.name+"-"+c.letters("0123456789", 9), "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.", vpc,
			map[string]string{"aws:eks:cluster-name": k.name, "kubernetes.io/cluster/" + k.name: "owned", "Name": "eks-cluster-sg-" + k.name})
		k.group = group.id
		k.view["resourcesVpcConfig"].(object)["clusterSecurityGroupId"] = group.id
		for i := range 2 {
			eni := c.newInterface(subnets[i%len(subnets)], "Amazon EKS "+k.name, "interface", []string{group.id})
			eni.data["requesterManaged"] = true
			k.interfaces = append(k.interfaces, eni.id)
		}
	})
	c.clock.after(clusterTakes, func() {
		c.clock.until(nextLook, neverMind, func() (bool, error) {
			return k.status() != "CREATING" || c.raised(k), nil
		}, func(error) {})
	})
}

// raised reports whether the control plane of a cluster is there, and says so of one that
// is.
func (a *Account) raised(k *eksCluster) bool {
	at, there := a.o.Outside.endpoint(k.name)
	if !there {
		return false
	}
	id := strings.ToUpper(a.letters(hexDigits, 32))
	if at.URL == "" {
		at = Endpoint{URL: "https://" + id + ".gr7." + a.region + ".eks." + a.suffix, CA: []byte("-----BEGIN CERTIFICATE-----\nawstest\n-----END CERTIFICATE-----\n")}
	}
	k.view["status"], k.view["endpoint"] = "ACTIVE", at.URL
	k.view["certificateAuthority"] = object{"data": base64.StdEncoding.EncodeToString(at.CA)}
	k.view["identity"] = object{"oidc": object{"issuer": "https://oidc.eks." + a.region + "." + a.suffix + "/id/" + id}}
	return true
}

func describeCluster(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	return object{"cluster": k.view}, nil
}

// names is a list of names, cut where the caller's token says.
func (c *call) names(under string, list []string) (object, error) {
	part, next, err := c.page(anys(list), "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{under: append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

func listClusters(c *call) (object, error) {
	c.in.ignore("include")
	return c.names("clusters", sorted(c.eks.clusters))
}

func deleteCluster(c *call) (object, error) {
	k, err := c.cluster()
	switch {
	case err != nil:
		return nil, err
	case len(k.nodegroups) > 0:
		return nil, inUseByEKS("Cluster has nodegroups attached")
	case k.view["deletionProtection"] == true:
		return nil, badRequest("Cluster %s has deletion protection enabled", k.name)
	case k.status() == "DELETING":
		return object{"cluster": k.view}, nil
	case k.status() == "UPDATING":
		return nil, inUseByEKS("Cluster %s has an update in progress", k.name)
	}
	k.view["status"] = "DELETING"
	c.clock.after(clusterGoneTakes, func() {
		for _, id := range k.interfaces {
			c.dropInterface(id)
		}
		// What somebody else uses is left to them.
		if g := c.ec2.records[k.group]; g != nil && len(c.where("network-interface", "groupSet.groupId", g.id)) == 0 {
			used := c.where("security-group", "ipPermissions.groups.groupId", g.id)
			if len(slices.DeleteFunc(used, func(r *record) bool { return r == g })) == 0 {
				c.drop(g)
			}
		}
		delete(c.eks.clusters, k.name)
	})
	return object{"cluster": k.view}, nil
}
