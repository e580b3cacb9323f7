package awstest

import "time"

// instanceProfile is by what instances take a role on.
type instanceProfile struct {
	name, arn, id string
	role          string // its one role; empty: none
	created       time.Time
	changed       time.Time // EC2 knows of it a little later
}

func onProfile(c *call) []string {
	return []string{c.iamARN("instance-profile/" + c.in.text("InstanceProfileName"))}
}

func (c *call) profile() (*instanceProfile, error) {
	p := c.iam.profiles[c.in.text("InstanceProfileName")]
	if p == nil {
		return nil, noSuch("Instance Profile %s cannot be found.", c.in.text("InstanceProfileName"))
	}
	return p, nil
}

func (c *call) profileView(p *instanceProfile) object {
	roles := []any{}
	if r := c.iam.roles[p.role]; r != nil {
		roles = append(roles, without(r.view(), "Tags", "MaxSessionDuration"))
	}
	return object{"InstanceProfileName": p.name, "InstanceProfileId": p.id, "Arn": p.arn, "Path": "/", "CreateDate": stamp(p.created), "Roles": roles}
}

func createProfile(c *call) (object, error) {
	name := c.in.text("InstanceProfileName")
	switch {
	case c.in.has("Tags"):
		return nil, notSimulated("tags of instance profiles")
	case c.iam.profiles[name] != nil:
		return nil, refuseAs(409, "EntityAlreadyExists", "Instance Profile %s already exists.", name)
	}
	p := &instanceProfile{name: name, arn: c.iamARN("instance-profile/" + name), id: "AIPA" + c.letters(idLetters, 17), created: c.clock.now, changed: c.clock.now}
	c.iam.profiles[name] = p
	c.made["instance-profile"]++
	return object{"InstanceProfile": c.profileView(p)}, nil
}

func getProfile(c *call) (object, error) {
	p, err := c.profile()
	if err != nil {
		return nil, err
	}
	return object{"InstanceProfile": c.profileView(p)}, nil
}

func addRoleToProfile(c *call) (object, error) {
	p, err := c.profile()
	if err != nil {
		return nil, err
	}
	r, err := c.role()
	switch {
	case err != nil:
		return nil, err
	case p.role != "":
		return nil, refuseAs(409, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	}
	if err := c.passes(r.arn, "ec2.amazonaws.com"); err != nil {
		return nil, err
	}
	p.role, p.changed = r.name, c.clock.now
	return nil, nil
}

func removeRoleFromProfile(c *call) (object, error) {
	p, err := c.profile()
	if err != nil {
		return nil, err
	}
	if name := c.in.text("RoleName"); p.role != name || name == "" {
		return nil, noSuch("The role with name %s cannot be found.", name)
	}
	p.role = ""
	return nil, nil
}

func deleteProfile(c *call) (object, error) {
	p, err := c.profile()
	switch {
	case err != nil:
		return nil, err
	case p.role != "":
		return nil, refuseAs(409, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
	}
	delete(c.iam.profiles, p.name)
	return nil, nil
}

// profilesOf are the instance profiles with a role.
func (c *call) profilesOf(role string) (all []any) {
	for _, name := range sorted(c.iam.profiles) {
		if p := c.iam.profiles[name]; p.role == role {
			all = append(all, c.profileView(p))
		}
	}
	return all
}

func listInstanceProfiles(c *call) (object, error) {
	r, err := c.role()
	if err != nil {
		return nil, err
	}
	return c.marked("InstanceProfiles", c.profilesOf(r.name))
}
