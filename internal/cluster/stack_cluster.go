package cluster

import "net/netip"

// VersionParameter is the parameter of the stack of the control plane that says which version
// of Kubernetes it was given last.
const VersionParameter = "Version"

// clusterStack is the control plane alone: making it takes the longest, and nothing that
// fails later may take it away again.
func (b *builder) clusterStack() *template {
	t := newTemplate("Cortex: control plane of cluster " + b.c.ClusterName)
	t.parameter("Subnets", typeSubnets)
	// A parameter, because it shows: AWS moves a control plane on by itself when the support
	// of its version ends, and tells no stack.
	t.parameter(VersionParameter, "String")
	t.resource("Cluster", "AWS::EKS::Cluster", object{
		"Name": b.c.ClusterName, "Version": ref(VersionParameter), "RoleArn": b.names.RoleARN(roleCluster),
		// Add-ons are resources of their own, in the order that they need.
		"BootstrapSelfManagedAddons": false,
		// Entries for grant and revoke, the ConfigMap for what eksctl documents. Whoever
		// makes the cluster is an administrator: create-only, so never to be changed.
		"AccessConfig":            object{"AuthenticationMode": "API_AND_CONFIG_MAP", "BootstrapClusterCreatorAdminPermissions": true},
		"UpgradePolicy":           object{"SupportType": "STANDARD"}, // extended support costs six times as much
		"KubernetesNetworkConfig": object{"IpFamily": "ipv4", "ServiceIpv4Cidr": b.services().String()},
		"ResourcesVpcConfig":      object{"SubnetIds": ref("Subnets"), "EndpointPublicAccess": true, "EndpointPrivateAccess": true},
		"Tags":                    tagList(b.c.allTags()),
	})
	t.output("Endpoint", attribute("Cluster", "Endpoint"))
	t.output("Authority", attribute("Cluster", "CertificateAuthorityData"))
	t.output("SecurityGroup", attribute("Cluster", "ClusterSecurityGroupId"))
	t.output("Arn", attribute("Cluster", "Arn"))
	return t
}

// services is the range of addresses of Services.
func (b *builder) services() netip.Prefix {
	if b.c.OwnNetwork() {
		vpc, err := netip.ParsePrefix(b.f.subnet(b.c.Subnets[0].SubnetID).VPCCIDR)
		if err != nil {
			return servicesIn10 // ParseFacts has read it
		}
		return serviceRange(vpc)
	}
	return serviceRange(b.vpcCIDR())
}

// addonsStack is what nodes need before there are any, and who pods are.
func (b *builder) addonsStack() *template {
	t := newTemplate("Cortex: add-ons that nodes need, and identities of pods, of cluster " + b.c.ClusterName)
	for i, resource := range []string{"VpcCni", "KubeProxy", "PodIdentityAgent"} {
		t.resource(resource, "AWS::EKS::Addon", b.addon(addonsBeforeNodes[i]))
	}
	for _, p := range podRoles {
		if !b.c.has(p.role) {
			continue
		}
		t.resource(p.resource, "AWS::EKS::PodIdentityAssociation", object{
			"ClusterName": b.c.ClusterName, "Namespace": p.namespace, "ServiceAccount": p.account, "RoleArn": b.names.RoleARN(p.role),
		})
	}
	return t
}

func (b *builder) addon(name string) object {
	return object{
		"ClusterName": b.c.ClusterName, "AddonName": name, "AddonVersion": b.version.Addons[name], "ResolveConflicts": "OVERWRITE",
	}
}
