package awstest

import (
	"encoding/json"
	"time"
)

// Add-ons, and who pods are.

func onAddon(c *call) []string {
	return []string{c.arn("eks", "addon/"+c.in.text("name")+"/"+c.in.text("addonName")+"/*")}
}

func (c *call) addon() (*eksCluster, object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, nil, err
	}
	name := c.in.text("addonName")
	if k.addons[name] == nil {
		return nil, nil, notFoundByEKS("No addon: %s found in cluster: %s", name, k.name)
	}
	return k, k.addons[name], nil
}

// addonSettings checks what a request sets of an add-on.
func (c *call) addonSettings(k *eksCluster, name, otherwise string) (version, configuration string, err error) {
	version = c.in.or("addonVersion", otherwise)
	configuration = c.in.text("configurationValues")
	c.in.ignore("resolveConflicts", "clientRequestToken")
	known := false
	for _, v := range versions {
		known = known || v.addons[name] == version && v.name == k.version()
	}
	switch {
	case !known:
		return "", "", badParameter("Addon version specified is not supported")
	case configuration != "" && !json.Valid([]byte(configuration)):
		return "", "", badParameter("ConfigurationValue provided in request is not supported: invalid JSON")
	}
	return version, configuration, nil
}

func createAddon(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	name := c.in.text("addonName")
	if k.addons[name] != nil {
		return nil, inUseByEKS("Addon already exists.")
	}
	if err := k.active(); err != nil {
		return nil, err
	}
	version, configuration, err := c.addonSettings(k, name, versionNamed(k.version()).addons[name])
	if err != nil {
		return nil, err
	}
	addon := object{
		"addonName": name, "clusterName": k.name, "status": "CREATING", "addonVersion": version, "health": object{"issues": []any{}},
		"addonArn": c.arn("eks", "addon/"+k.name+"/"+name+"/"+c.uuid()), "createdAt": stamp(c.clock.now), "modifiedAt": stamp(c.clock.now), "tags": textMap(c.in.tagMap("tags")),
	}
	set(addon, "configurationValues", configuration)
	k.addons[name] = addon
	c.made["addon"]++
	c.clock.after(addonTakes, func() { c.settle(k, name, addon) })
	return object{"addon": addon}, nil
}

// settle says how an add-on is: one that runs on nodes needs some.
func (c *call) settle(k *eksCluster, name string, addon object) {
	if textOf(addon["status"]) == "DELETING" {
		return
	}
	if name == "coredns" && c.nodes(k) == 0 {
		addon["status"] = "DEGRADED"
		addon["health"] = object{"issues": []any{object{
			"code": "InsufficientNumberOfReplicas", "message": "The add-on is unhealthy because it doesn't have the desired number of replicas.", "resourceIds": []any{},
		}}}
		c.clock.after(15*time.Second, func() { c.settle(k, name, addon) })
		return
	}
	addon["status"], addon["health"] = "ACTIVE", object{"issues": []any{}}
}

func describeAddon(c *call) (object, error) {
	_, addon, err := c.addon()
	if err != nil {
		return nil, err
	}
	return object{"addon": addon}, nil
}

func listAddons(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	return c.names("addons", sorted(k.addons))
}

func updateAddon(c *call) (object, error) {
	k, addon, err := c.addon()
	if err != nil {
		return nil, err
	}
	name := textOf(addon["addonName"])
	if s := textOf(addon["status"]); s != "ACTIVE" && s != "DEGRADED" && s != "UPDATE_FAILED" {
		return nil, inUseByEKS("Addon %s cannot be updated as it is currently in %s state", name, s)
	}
	version, configuration, err := c.addonSettings(k, name, textOf(addon["addonVersion"]))
	if err != nil {
		return nil, err
	}
	addon["status"] = "UPDATING"
	u := c.begun(k, "AddonUpdate", map[string]string{"AddonVersion": version}, addonTakes, func() {
		addon["addonVersion"] = version
		set(addon, "configurationValues", configuration)
		c.settle(k, name, addon)
	})
	return object{"update": u}, nil
}

func deleteAddon(c *call) (object, error) {
	k, addon, err := c.addon()
	if err != nil {
		return nil, err
	}
	c.in.ignore("preserve")
	addon["status"] = "DELETING"
	c.clock.after(addonGoneTakes, func() { delete(k.addons, textOf(addon["addonName"])) })
	return object{"addon": addon}, nil
}

func onIdentity(c *call) []string {
	return []string{c.arn("eks", "podidentityassociation/"+c.in.text("name")+"/"+c.in.or("associationId", "*"))}
}

const untrusted = "Trust policy of role %s does not let pods.eks.amazonaws.com assume it, or the role does not exist"

func createIdentity(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	namespace, account, role := c.in.text("namespace"), c.in.text("serviceAccount"), c.in.text("roleArn")
	for _, i := range k.identities {
		if i["namespace"] == namespace && i["serviceAccount"] == account {
			return nil, inUseByEKS("Association already exists: %s", i["associationId"])
		}
	}
	if err := k.active(); err != nil {
		return nil, err
	}
	if err := c.usable(role, "pods.eks.amazonaws.com", untrusted); err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	id := "a-" + c.letters(hexDigits, 17)
	identity := object{
		"clusterName": k.name, "namespace": namespace, "serviceAccount": account, "roleArn": role, "associationId": id,
		"associationArn": c.arn("eks", "podidentityassociation/"+k.name+"/"+id), "createdAt": stamp(c.clock.now), "modifiedAt": stamp(c.clock.now), "tags": textMap(c.in.tagMap("tags")),
	}
	k.identities[id] = identity
	c.made["pod-identity"]++
	return object{"association": identity}, nil
}

func (c *call) identity() (*eksCluster, object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, nil, err
	}
	i := k.identities[c.in.text("associationId")]
	if i == nil {
		return nil, nil, notFoundByEKS("No association found with ID: %s", c.in.text("associationId"))
	}
	return k, i, nil
}

func describeIdentity(c *call) (object, error) {
	_, i, err := c.identity()
	if err != nil {
		return nil, err
	}
	return object{"association": i}, nil
}

func updateIdentity(c *call) (object, error) {
	_, i, err := c.identity()
	if err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	role := c.in.text("roleArn")
	if err := c.usable(role, "pods.eks.amazonaws.com", untrusted); err != nil {
		return nil, err
	}
	i["roleArn"] = role
	return object{"association": i}, nil
}

func deleteIdentity(c *call) (object, error) {
	k, i, err := c.identity()
	if err != nil {
		return nil, err
	}
	delete(k.identities, textOf(i["associationId"]))
	return object{"association": i}, nil
}

func listIdentities(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	namespace, account := c.in.text("namespace"), c.in.text("serviceAccount")
	var list []any
	for _, id := range sorted(k.identities) {
		i := k.identities[id]
		if (namespace == "" || i["namespace"] == namespace) && (account == "" || i["serviceAccount"] == account) {
			list = append(list, without(i, "roleArn", "createdAt", "modifiedAt", "tags"))
		}
	}
	part, next, err := c.page(list, "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{"associations": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}
