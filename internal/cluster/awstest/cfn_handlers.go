package awstest

import (
	"slices"
	"strings"
	"time"
)

// resourceKind is how CloudFormation makes, changes and deletes a type of resource: by
// the calls that anybody could make, on behalf of whoever asked for the stack.
type resourceKind struct {
	// create returns the id by which CloudFormation knows it, and its attributes.
	create func(h *handler) (physical string, attrs object, err error)
	update func(h *handler, old object) error // nil: by another one
	remove func(h *handler) error
	// ready and gone are asked until they say yes.
	ready, gone func(h *handler) (bool, error)
	// read is what the properties are by now, of those that can be told.
	read  func(h *handler) object
	takes time.Duration // at least, to be made
	limit time.Duration // until it has to be ready
	ref   string        // the attribute that Ref gives, where it is not the id
}

func (k *resourceKind) within() time.Duration {
	if k.limit > 0 {
		return k.limit
	}
	return 30 * time.Minute
}

// asks is how often CloudFormation looks whether something is ready.
func (k *resourceKind) asks() time.Duration { return 10 * time.Second }

func (k *resourceKind) isReady(h *handler) (bool, error) {
	if k.ready == nil {
		return true, nil
	}
	return k.ready(h)
}

func (k *resourceKind) isGone(h *handler) (bool, error) {
	if k.gone == nil {
		return true, nil
	}
	return k.gone(h)
}

// handler is one resource in the hands of CloudFormation.
type handler struct {
	*Account
	who   *principal
	r     *stackResource
	stack *stack
	props object
}

func (s *stack) handler(r *stackResource) *handler {
	return &handler{Account: s.a, who: s.who, r: r, stack: s, props: r.props}
}

func (h *handler) text(name string) string { return textOf(h.props[name]) }

func (h *handler) do(service, action string, in object) (object, error) {
	return h.Account.do(h.who, service, action, in)
}

// try is do for callers that want nothing but to know whether it went well.
func (h *handler) try(service, action string, in object) error {
	_, err := h.do(service, action, in)
	return err
}

// some are the properties with these names, of those that are there.
func (h *handler) some(names ...string) object {
	o := object{}
	for _, n := range names {
		if v, ok := h.props[n]; ok {
			o[n] = v
		}
	}
	return o
}

// setAside are permissions that handlers declare for what our templates do not ask for.
var setAside = map[string][]string{
	"AWS::EKS::Cluster":                     {"InstanceProfile"}, // Auto Mode
	"AWS::ElasticLoadBalancingV2::Listener": {"cognito-idp:"},    // actions that authenticate
	// Traffic sources, images and types that are described instead of named, and what nobody
	// outside has heard of: eksctl's groups are of this type too, and its documented policy has
	// none of these.
	"AWS::AutoScaling::AutoScalingGroup": {"vpc-lattice:", "managed-fleets:", "ssm:", "ec2:Get"},
}

// linkedServices are those whose role a type needs.
var linkedServices = map[string]string{
	"AWS::EKS::Cluster": "eks.amazonaws.com", "AWS::EKS::Nodegroup": "eks-nodegroup.amazonaws.com",
	"AWS::ElasticLoadBalancingV2::LoadBalancer": "elasticloadbalancing.amazonaws.com", "AWS::AutoScaling::AutoScalingGroup": "autoscaling.amazonaws.com",
}

// declared asks for every permission that AWS's schema of the type says its handler needs.
// The real handler may get by with fewer; who has all of them is safe.
func (h *handler) declared(verb string) error {
	for _, permission := range schemas[h.r.kind].Handlers[verb].Permissions {
		if slices.ContainsFunc(setAside[h.r.kind], func(part string) bool { return strings.Contains(permission, part) }) {
			continue
		}
		service, action, _ := strings.Cut(permission, ":")
		resource, context := h.resourceOf(service, action)
		if resource == "" {
			continue // a role that this one does not have
		}
		err := h.permitted(h.who, permission, resource, context)
		h.note(Call{Service: service, Action: action, Resources: []string{resource}, Principal: h.who.arn, Implied: true, Result: codeOf(err), Context: context})
		if err != nil {
			return err
		}
	}
	return nil
}

// resourceOf is what a declared permission is about, as far as the properties tell.
func (h *handler) resourceOf(service, action string) (resource string, context map[string]string) {
	cluster, name := h.text("ClusterName"), h.text("Name")
	if cluster == "" {
		cluster = name
	}
	role := h.text("RoleArn") + h.text("NodeRole")
	switch {
	case action == "CreateServiceLinkedRole":
		linked := linkedServices[h.r.kind]
		return h.iamARN("role/aws-service-role/" + linked + "/AWSServiceRole"), map[string]string{"iam:AWSServiceName": linked}
	case action == "PassRole":
		to := "eks.amazonaws.com"
		if h.r.kind == "AWS::EKS::PodIdentityAssociation" {
			to = "pods." + to
		}
		return role, map[string]string{"iam:PassedToService": to}
	case service == "iam":
		return role, nil
	case service == "autoscaling" && !strings.HasPrefix(action, "Describe"):
		return h.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+h.stack.name+"-"+h.r.logical+"-*"), nil
	case service != "eks" || action == "CreateCluster": // which is about nothing that there is
		return "*", nil
	case strings.Contains(action, "Nodegroup") && action != "CreateNodegroup":
		return h.arn("eks", "nodegroup/"+cluster+"/"+h.text("NodegroupName")+"/*"), nil
	case strings.HasSuffix(action, "Addon") && action != "CreateAddon":
		return h.arn("eks", "addon/"+cluster+"/"+h.text("AddonName")+"/*"), nil
	case strings.HasSuffix(action, "PodIdentityAssociation") && action != "CreatePodIdentityAssociation":
		return h.arn("eks", "podidentityassociation/"+cluster+"/*"), nil
	case strings.HasSuffix(action, "AccessEntry") && action != "CreateAccessEntry", strings.Contains(action, "AccessPolic"):
		return h.arn("eks", "access-entry/"+cluster+"/*"), nil
	}
	return h.arn("eks", "cluster/"+cluster), nil
}

// deletionFault is what goes wrong with the deletion of a resource.
func (a *Account) deletionFault(logical, kind string) error {
	for _, f := range a.faults {
		if f.Deletion && (f.Resource == "" || f.Resource == logical) && (f.Type == "" || f.Type == kind) && a.hits(f) {
			f.words = wordsQuery
			return f.err()
		}
	}
	return nil
}

// resourceKinds are all types that a template may have.
var resourceKinds map[string]*resourceKind

func init() { // for handlers look kinds up
	resourceKinds = map[string]*resourceKind{}
	for _, some := range []map[string]*resourceKind{networkResources, machineResources, eksResources, elbResources} {
		for name, k := range some {
			if schemas[name] == nil {
				panic("awstest: no schema of " + name)
			}
			resourceKinds[name] = k
		}
	}
}
