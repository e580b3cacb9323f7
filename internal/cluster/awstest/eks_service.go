package awstest

var eksService = &service{
	name: "eks", protocol: restJSON{}, errors: wordsJSON,
	operations: []operation{
		{name: "DescribeClusterVersions", do: describeClusterVersions, route: "GET /cluster-versions"},
		{name: "DescribeAddonVersions", do: describeAddonVersions, route: "GET /addons/supported-versions"},

		{name: "CreateCluster", do: createCluster, route: "POST /clusters"},
		{name: "ListClusters", do: listClusters, route: "GET /clusters"},
		{name: "DescribeCluster", do: describeCluster, on: onCluster, route: "GET /clusters/{name}"},
		{name: "DeleteCluster", do: deleteCluster, on: onCluster, route: "DELETE /clusters/{name}"},
		{name: "UpdateClusterVersion", do: updateClusterVersion, on: onCluster, route: "POST /clusters/{name}/updates"},
		{name: "UpdateClusterConfig", do: updateClusterConfig, on: onCluster, route: "POST /clusters/{name}/update-config"},
		{name: "ListUpdates", do: listUpdates, on: onCluster, route: "GET /clusters/{name}/updates"},
		{name: "DescribeUpdate", do: describeUpdate, on: onCluster, route: "GET /clusters/{name}/updates/{updateId}"},
		{name: "ListInsights", do: listInsights, on: onCluster, route: "POST /clusters/{name}/insights"},

		{name: "CreateNodegroup", do: createNodegroup, on: onCluster, route: "POST /clusters/{name}/node-groups"},
		{name: "ListNodegroups", do: listNodegroups, on: onCluster, route: "GET /clusters/{name}/node-groups"},
		{name: "DescribeNodegroup", do: describeNodegroup, on: onNodegroup, route: "GET /clusters/{name}/node-groups/{nodegroupName}"},
		{name: "DeleteNodegroup", do: deleteNodegroup, on: onNodegroup, route: "DELETE /clusters/{name}/node-groups/{nodegroupName}"},
		{name: "UpdateNodegroupConfig", do: updateNodegroupConfig, on: onNodegroup, route: "POST /clusters/{name}/node-groups/{nodegroupName}/update-config"},
		{name: "UpdateNodegroupVersion", do: updateNodegroupVersion, on: onNodegroup, route: "POST /clusters/{name}/node-groups/{nodegroupName}/update-version"},

		{name: "CreateAddon", do: createAddon, on: onCluster, route: "POST /clusters/{name}/addons"},
		{name: "ListAddons", do: listAddons, on: onCluster, route: "GET /clusters/{name}/addons"},
		{name: "DescribeAddon", do: describeAddon, on: onAddon, route: "GET /clusters/{name}/addons/{addonName}"},
		{name: "UpdateAddon", do: updateAddon, on: onAddon, route: "POST /clusters/{name}/addons/{addonName}/update"},
		{name: "DeleteAddon", do: deleteAddon, on: onAddon, route: "DELETE /clusters/{name}/addons/{addonName}"},

		{name: "CreatePodIdentityAssociation", do: createIdentity, on: onCluster, route: "POST /clusters/{name}/pod-identity-associations"},
		{name: "ListPodIdentityAssociations", do: listIdentities, on: onCluster, route: "GET /clusters/{name}/pod-identity-associations"},
		{name: "DescribePodIdentityAssociation", do: describeIdentity, on: onIdentity, route: "GET /clusters/{name}/pod-identity-associations/{associationId}"},
		{name: "UpdatePodIdentityAssociation", do: updateIdentity, on: onIdentity, route: "POST /clusters/{name}/pod-identity-associations/{associationId}"},
		{name: "DeletePodIdentityAssociation", do: deleteIdentity, on: onIdentity, route: "DELETE /clusters/{name}/pod-identity-associations/{associationId}"},

		{name: "CreateAccessEntry", do: createEntry, on: onCluster, route: "POST /clusters/{name}/access-entries"},
		{name: "ListAccessEntries", do: listEntries, on: onCluster, route: "GET /clusters/{name}/access-entries"},
		{name: "DescribeAccessEntry", do: describeEntry, on: onEntry, route: "GET /clusters/{name}/access-entries/{principalArn}"},
		{name: "UpdateAccessEntry", do: updateEntry, on: onEntry, route: "POST /clusters/{name}/access-entries/{principalArn}"},
		{name: "DeleteAccessEntry", do: deleteEntry, on: onEntry, route: "DELETE /clusters/{name}/access-entries/{principalArn}"},
		{name: "AssociateAccessPolicy", do: associatePolicy, on: onEntry, route: "POST /clusters/{name}/access-entries/{principalArn}/access-policies"},
		{name: "ListAssociatedAccessPolicies", do: listAssociated, on: onEntry, route: "GET /clusters/{name}/access-entries/{principalArn}/access-policies"},
		{name: "DisassociateAccessPolicy", do: disassociatePolicy, on: onEntry, route: "DELETE /clusters/{name}/access-entries/{principalArn}/access-policies/{policyArn}"},

		{name: "TagResource", do: tagEKS, on: onTagged, route: "POST /tags/{resourceArn}"},
		{name: "UntagResource", do: untagEKS, on: onTagged, route: "DELETE /tags/{resourceArn}"},
	},
}

func onTagged(c *call) []string { return []string{c.in.text("resourceArn")} }

// tagsAt are the tags of whatever has an ARN.
func (c *call) tagsAt(arn string) (object, error) {
	for _, k := range c.eks.clusters {
		if k.view["arn"] == arn {
			return k.view["tags"].(object), nil
		}
		for _, n := range k.nodegroups {
			if n.view["nodegroupArn"] == arn {
				return n.view["tags"].(object), nil
			}
		}
		for _, each := range k.addons {
			if each["addonArn"] == arn {
				return each["tags"].(object), nil
			}
		}
		for _, each := range k.identities {
			if each["associationArn"] == arn {
				return each["tags"].(object), nil
			}
		}
		for _, e := range k.entries {
			if e.view["accessEntryArn"] == arn {
				return e.view["tags"].(object), nil
			}
		}
	}
	return nil, refuseAs(404, "NotFoundException", "Resource not found: %s", arn)
}

func tagEKS(c *call) (object, error) {
	tags, err := c.tagsAt(c.in.text("resourceArn"))
	for k, v := range c.in.tagMap("tags") {
		if err == nil {
			tags[k] = v
		}
	}
	return nil, err
}

func untagEKS(c *call) (object, error) {
	tags, err := c.tagsAt(c.in.text("resourceArn"))
	for _, k := range c.in.texts("tagKeys") {
		if err == nil {
			delete(tags, k)
		}
	}
	return nil, err
}
