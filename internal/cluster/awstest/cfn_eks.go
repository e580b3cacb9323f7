package awstest

import (
	"strings"
	"time"
)

// eksResources are the types of EKS.
var eksResources = map[string]*resourceKind{
	"AWS::EKS::Cluster":                {create: makeCluster, update: updateCluster, remove: removeCluster, ready: clusterReady, gone: clusterGone, read: readCluster, limit: 40 * time.Minute},
	"AWS::EKS::Nodegroup":              {create: makeNodegroup, update: updateNodegroup, remove: removeNodegroup, ready: nodegroupReady, gone: nodegroupGone, read: readNodegroup, limit: 35 * time.Minute},
	"AWS::EKS::Addon":                  {create: makeAddon, update: changeAddon, remove: removeAddon, ready: addonReady, gone: addonGone, read: readAddon, limit: 20 * time.Minute},
	"AWS::EKS::PodIdentityAssociation": {create: makeIdentity, update: changeIdentity, remove: removeIdentity, read: readIdentity, takes: 3 * time.Second},
	"AWS::EKS::AccessEntry":            {create: makeEntry, update: changeEntry, remove: removeEntry, takes: 3 * time.Second},
}

// asEKS are the properties as EKS takes them: a cluster is called name everywhere.
func (h *handler) asEKS() object {
	in := lower(without(h.props, "Tags"), "labels").(object)
	if cluster, ok := in["clusterName"]; ok {
		in["name"] = cluster
		delete(in, "clusterName")
	}
	tags := object{}
	for k, v := range tagsOf(h.props) {
		tags[k] = v
	}
	in["tags"] = tags
	return in
}

// retaggedEKS brings tags of EKS up to date.
func (h *handler) retaggedEKS(arn string, old object) error {
	now, was := tagsOf(h.props), tagsOf(old)
	var gone []any
	for k := range was {
		if _, ok := now[k]; !ok {
			gone = append(gone, k)
		}
	}
	if len(gone) > 0 {
		if err := h.try("eks", "UntagResource", object{"resourceArn": arn, "tagKeys": gone}); err != nil {
			return err
		}
	}
	if mustJSON(now) == mustJSON(was) || len(now) == 0 {
		return nil
	}
	tags := object{}
	for k, v := range now {
		tags[k] = v
	}
	return h.try("eks", "TagResource", object{"resourceArn": arn, "tags": tags})
}

func makeCluster(h *handler) (string, object, error) {
	in := h.asEKS()
	if in["name"] == nil {
		in["name"] = "Cluster-" + h.letters(idLetters, 12)
	}
	out, err := h.do("eks", "CreateCluster", in)
	if err != nil {
		return "", nil, err
	}
	view := out["cluster"].(object)
	return textOf(view["name"]), object{"Id": "", "Arn": view["arn"]}, nil
}

func clusterReady(h *handler) (bool, error) {
	k := h.eks.clusters[h.r.physical]
	switch {
	case k == nil:
		return false, refuse("NotStabilized", "Cluster %s is not there any more", h.r.physical)
	case k.status() == "FAILED":
		return false, refuse("NotStabilized", "Cluster %s is FAILED", k.name)
	case k.status() != "ACTIVE":
		return false, nil
	}
	h.r.attrs = object{
		"Arn": k.view["arn"], "Endpoint": k.view["endpoint"], "CertificateAuthorityData": k.view["certificateAuthority"].(object)["data"], "ClusterSecurityGroupId": k.group,
		"OpenIdConnectIssuerUrl": k.view["identity"].(object)["oidc"].(object)["issuer"],
	}
	return true, nil
}

// updateCluster makes one change at a time, and waits for each: EKS takes no second.
func updateCluster(h *handler, old object) error {
	k := h.eks.clusters[h.r.physical]
	if k == nil {
		return notFoundByEKS("No cluster found for name: %s.", h.r.physical)
	}
	if err := h.retaggedEKS(textOf(k.view["arn"]), old); err != nil {
		return err
	}
	now := h.asEKS()
	was := lower(without(old, "Tags")).(object)
	if v := textOf(now["version"]); v != textOf(was["version"]) {
		return h.try("eks", "UpdateClusterVersion", object{"name": k.name, "version": v})
	}
	in := object{"name": k.name}
	for _, name := range []string{"resourcesVpcConfig", "upgradePolicy", "deletionProtection", "accessConfig"} {
		if mustJSON(now[name]) != mustJSON(was[name]) {
			in[name] = now[name]
		}
	}
	if vpc, ok := in["resourcesVpcConfig"].(object); ok {
		in["resourcesVpcConfig"] = without(vpc, "subnetIds")
	}
	if access, ok := in["accessConfig"].(object); ok {
		in["accessConfig"] = without(access, "bootstrapClusterCreatorAdminPermissions")
	}
	if len(in) == 1 {
		return nil
	}
	return h.try("eks", "UpdateClusterConfig", in)
}

func removeCluster(h *handler) error {
	return h.try("eks", "DeleteCluster", object{"name": h.r.physical})
}

func clusterGone(h *handler) (bool, error) { return h.eks.clusters[h.r.physical] == nil, nil }

func readCluster(h *handler) object {
	k := h.eks.clusters[h.r.physical]
	if k == nil {
		return nil
	}
	return object{"Version": k.view["version"], "RoleArn": k.view["roleArn"]}
}

func makeNodegroup(h *handler) (string, object, error) {
	out, err := h.do("eks", "CreateNodegroup", h.asEKS())
	if err != nil {
		return "", nil, err
	}
	view := out["nodegroup"].(object)
	id := textOf(view["clusterName"]) + "/" + textOf(view["nodegroupName"])
	return id, object{"Id": id, "Arn": view["nodegroupArn"]}, nil
}

func (h *handler) node() *nodegroup {
	cluster, name, _ := strings.Cut(h.r.physical, "/")
	if k := h.eks.clusters[cluster]; k != nil {
		return k.nodegroups[name]
	}
	return nil
}

func nodegroupReady(h *handler) (bool, error) {
	n := h.node()
	if n == nil {
		return false, refuse("NotStabilized", "Nodegroup %s is not there any more", h.r.physical)
	}
	switch n.status() {
	case "ACTIVE":
		return true, nil
	case "CREATE_FAILED", "DEGRADED":
		issue := n.view["health"].(object)["issues"].([]any)[0].(object)
		return false, refuse("NotStabilized", "[Issue(Code=%s, Message=%s, ResourceIds=[%s])]", issue["code"], issue["message"], strings.Join(valuesAt(issue, []string{"resourceIds"}), ", "))
	}
	return false, nil
}

// updateNodegroup makes the changes that there are, one kind at a time.
func updateNodegroup(h *handler, old object) error {
	n := h.node()
	if n == nil {
		return notFoundByEKS("No node group found for name: %s.", h.r.physical)
	}
	if err := h.retaggedEKS(textOf(n.view["nodegroupArn"]), old); err != nil {
		return err
	}
	now, was := h.asEKS(), lower(without(old, "Tags"), "labels").(object)
	id := object{"name": n.view["clusterName"], "nodegroupName": n.view["nodegroupName"]}
	differs := func(name string) bool { return mustJSON(now[name]) != mustJSON(was[name]) }
	if differs("version") || differs("releaseVersion") || differs("launchTemplate") {
		in := without(id)
		for _, name := range []string{"version", "releaseVersion", "launchTemplate"} {
			set(in, name, now[name])
		}
		return h.try("eks", "UpdateNodegroupVersion", in)
	}
	in := without(id)
	for _, name := range []string{"scalingConfig", "updateConfig"} {
		if differs(name) {
			in[name] = now[name]
		}
	}
	if differs("labels") {
		add, _ := now["labels"].(object)
		before, _ := was["labels"].(object)
		var gone []any
		for k := range before {
			if add[k] == nil {
				gone = append(gone, k)
			}
		}
		labels := object{"addOrUpdateLabels": orEmpty(add)}
		set(labels, "removeLabels", gone)
		in["labels"] = labels
	}
	if len(in) == len(id) {
		return nil
	}
	return h.try("eks", "UpdateNodegroupConfig", in)
}

func removeNodegroup(h *handler) error {
	cluster, name, _ := strings.Cut(h.r.physical, "/")
	return h.try("eks", "DeleteNodegroup", object{"name": cluster, "nodegroupName": name})
}

func nodegroupGone(h *handler) (bool, error) { return h.node() == nil, nil }

func readNodegroup(h *handler) object {
	n := h.node()
	if n == nil {
		return nil
	}
	s := n.scaling()
	return object{"Version": n.view["version"], "ReleaseVersion": n.view["releaseVersion"], "ScalingConfig": object{"MinSize": s.min, "MaxSize": s.max, "DesiredSize": s.desired}}
}

func makeAddon(h *handler) (string, object, error) {
	out, err := h.do("eks", "CreateAddon", without(h.asEKS(), "preserveOnDelete"))
	if err != nil {
		return "", nil, err
	}
	return h.text("ClusterName") + "|" + h.text("AddonName"), object{"Arn": out["addon"].(object)["addonArn"]}, nil
}

func (h *handler) addon() object {
	cluster, name, _ := strings.Cut(h.r.physical, "|")
	if k := h.eks.clusters[cluster]; k != nil {
		return k.addons[name]
	}
	return nil
}

func addonReady(h *handler) (bool, error) {
	addon := h.addon()
	if addon == nil {
		return false, refuse("NotStabilized", "Addon %s is not there any more", h.r.physical)
	}
	return textOf(addon["status"]) == "ACTIVE", nil
}

func changeAddon(h *handler, old object) error {
	if err := h.retaggedEKS(textOf(h.r.attrs["Arn"]), old); err != nil {
		return err
	}
	if mustJSON(without(old, "Tags")) == mustJSON(without(h.props, "Tags")) {
		return nil
	}
	return h.try("eks", "UpdateAddon", without(h.asEKS(), "preserveOnDelete", "tags"))
}

func removeAddon(h *handler) error {
	cluster, name, _ := strings.Cut(h.r.physical, "|")
	return h.try("eks", "DeleteAddon", object{"name": cluster, "addonName": name})
}

func addonGone(h *handler) (bool, error) { return h.addon() == nil, nil }

func readAddon(h *handler) object {
	addon := h.addon()
	if addon == nil {
		return nil
	}
	return object{"AddonVersion": addon["addonVersion"]}
}

func makeIdentity(h *handler) (string, object, error) {
	out, err := h.do("eks", "CreatePodIdentityAssociation", h.asEKS())
	if err != nil {
		return "", nil, err
	}
	view := out["association"].(object)
	return textOf(view["associationArn"]), object{"AssociationArn": view["associationArn"], "AssociationId": view["associationId"]}, nil
}

func changeIdentity(h *handler, old object) error {
	if err := h.retaggedEKS(h.r.physical, old); err != nil {
		return err
	}
	if h.text("RoleArn") == textOf(old["RoleArn"]) {
		return nil
	}
	return h.try("eks", "UpdatePodIdentityAssociation", object{"name": h.text("ClusterName"), "associationId": h.r.attrs["AssociationId"], "roleArn": h.text("RoleArn")})
}

func removeIdentity(h *handler) error {
	return h.try("eks", "DeletePodIdentityAssociation", object{"name": h.text("ClusterName"), "associationId": h.r.attrs["AssociationId"]})
}

func readIdentity(h *handler) object {
	if k := h.eks.clusters[h.text("ClusterName")]; k != nil {
		if i := k.identities[textOf(h.r.attrs["AssociationId"])]; i != nil {
			return object{"RoleArn": i["roleArn"]}
		}
	}
	return nil
}

func makeEntry(h *handler) (string, object, error) {
	in := h.asEKS()
	policies, _ := in["accessPolicies"].([]any)
	out, err := h.do("eks", "CreateAccessEntry", without(in, "accessPolicies"))
	if err != nil {
		return "", nil, err
	}
	h.eks.clusters[h.text("ClusterName")].entries[h.text("PrincipalArn")].created = time.Time{} // the handler waits
	for _, p := range policies {
		with := p.(object)
		with["name"], with["principalArn"] = h.text("ClusterName"), h.text("PrincipalArn")
		if err := h.try("eks", "AssociateAccessPolicy", with); err != nil {
			return "", nil, err
		}
	}
	return h.text("PrincipalArn") + "|" + h.text("ClusterName"), object{"AccessEntryArn": out["accessEntry"].(object)["accessEntryArn"]}, nil
}

func changeEntry(h *handler, old object) error {
	return h.retaggedEKS(textOf(h.r.attrs["AccessEntryArn"]), old)
}

func removeEntry(h *handler) error {
	return h.try("eks", "DeleteAccessEntry", object{"name": h.text("ClusterName"), "principalArn": h.text("PrincipalArn")})
}
