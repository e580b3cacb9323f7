package awstest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// begun notes an update that takes its time.
func (c *call) begun(k *eksCluster, kind string, params map[string]string, takes time.Duration, done func()) object {
	var list []any
	for _, name := range sorted(params) {
		list = append(list, object{"type": name, "value": params[name]})
	}
	u := object{"id": c.uuid(), "status": "InProgress", "type": kind, "params": append([]any{}, list...), "createdAt": stamp(c.clock.now), "errors": []any{}}
	id := textOf(u["id"])
	k.updates[id] = u
	k.order = append(k.order, id)
	c.made["update"]++
	c.clock.after(takes, func() {
		u["status"] = "Successful"
		done()
	})
	return u
}

// minor is the second number of a version.
func minor(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(rest)
	return n
}

func updateClusterVersion(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	to := c.in.text("version")
	c.in.ignore("clientRequestToken")
	if err := k.active(); err != nil {
		return nil, err
	}
	if v := versionNamed(to); v == nil {
		return nil, badParameter("unsupported Kubernetes version %s", to)
	}
	if minor(to) != minor(k.version())+1 {
		return nil, badParameter("Unsupported Kubernetes minor version update from %s to %s", k.version(), to)
	}
	for _, name := range sorted(k.nodegroups) {
		if textOf(k.nodegroups[name].view["version"]) != k.version() {
			return nil, badRequest("Nodegroup %s must be updated to match cluster version %s before updating cluster version", name, k.version())
		}
	}
	k.view["status"] = "UPDATING"
	u := c.begun(k, "VersionUpdate", map[string]string{"Version": to, "PlatformVersion": "eks.1"}, clusterUpdateTakes, func() {
		k.view["status"], k.view["version"] = "ACTIVE", to
	})
	return object{"update": u}, nil
}

// MoveControlPlane has AWS bring a control plane to a version by itself, as it does when the
// support of its version ends. Nodes stay as they are.
func (a *Account) MoveControlPlane(name, to string) {
	defer a.locked()()
	if k := a.eks.clusters[name]; k != nil {
		k.view["version"] = to
	}
}

// Ail has EKS find something wrong with a node group or an add-on of a cluster.
func (a *Account) Ail(cluster, name, code, message string) {
	defer a.locked()()
	k := a.eks.clusters[cluster]
	if k == nil {
		return
	}
	view := k.addons[name]
	if n := k.nodegroups[name]; n != nil {
		view = n.view
	}
	if view != nil {
		view["status"], view["health"] = "DEGRADED", object{"issues": []any{object{"code": code, "message": message, "resourceIds": []any{}}}}
	}
}

// RunOut has no more instances of some types to be had.
func (a *Account) RunOut(types ...string) {
	defer a.locked()()
	a.o.Scarce = append(slices.Clone(a.o.Scarce), types...)
}

func updateClusterConfig(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	if err := k.active(); err != nil {
		return nil, err
	}
	params := map[string]string{}
	vpc := c.in.object("resourcesVpcConfig")
	config := without(k.view["resourcesVpcConfig"].(object))
	for _, name := range []string{"endpointPublicAccess", "endpointPrivateAccess"} {
		if vpc.has(name) {
			config[name] = vpc.flag(name)
			params[strings.ToUpper(name[:1])+name[1:]] = vpc.text(name)
		}
	}
	if cidrs := vpc.texts("publicAccessCidrs"); len(cidrs) > 0 {
		config["publicAccessCidrs"] = anys(cidrs)
		params["PublicAccessCidrs"] = mustJSON(cidrs)
	}
	if mode := c.in.object("accessConfig").text("authenticationMode"); mode != "" {
		params["AuthenticationMode"] = mode
	}
	if support := c.in.object("upgradePolicy").text("supportType"); support != "" {
		params["UpgradePolicy"] = support
	}
	if c.in.has("deletionProtection") {
		params["DeletionProtection"] = c.in.text("deletionProtection")
	}
	if len(params) == 0 {
		return nil, badParameter("No changes needed for the configuration provided.")
	}
	k.view["status"] = "UPDATING"
	u := c.begun(k, "ConfigUpdate", params, clusterConfigTakes, func() {
		k.view["status"] = "ACTIVE"
		k.view["resourcesVpcConfig"] = config
		if mode := params["AuthenticationMode"]; mode != "" {
			k.view["accessConfig"] = object{"authenticationMode": mode}
		}
		if support := params["UpgradePolicy"]; support != "" {
			k.view["upgradePolicy"] = object{"supportType": support}
		}
		if p := params["DeletionProtection"]; p != "" {
			k.view["deletionProtection"] = p == "true"
		}
	})
	return object{"update": u}, nil
}

func describeUpdate(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	c.in.ignore("nodegroupName", "addonName")
	u := k.updates[c.in.text("updateId")]
	if u == nil {
		return nil, notFoundByEKS("No update found for id: %s", c.in.text("updateId"))
	}
	return object{"update": u}, nil
}

func listUpdates(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	c.in.ignore("nodegroupName", "addonName")
	return c.names("updateIds", k.order)
}
