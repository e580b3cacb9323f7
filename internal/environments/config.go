package environments

import (
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
)

// Config is the content of cli.yaml. Keys of older releases that mean nothing
// any more are read over; telemetry is kept because it was the user's answer.
type Config struct {
	Telemetry          *bool         `yaml:"telemetry,omitempty"`
	DefaultEnvironment string        `yaml:"default_environment,omitempty"`
	Environments       []Environment `yaml:"environments"`
	// Ignored says which entries Read has left out, and why.
	Ignored []string `yaml:"-"`
}

// Find returns the entry of that name in c, to be changed in place; nil when there is
// none, as there may be of Local.
func (c *Config) Find(name string) *Environment {
	for i := range c.Environments {
		if c.Environments[i].Name == name {
			return &c.Environments[i]
		}
	}
	return nil
}

// All returns every environment, local first even when the file does not name it.
func (c *Config) All() []Environment {
	envs := slices.Clone(c.Environments)
	if c.Find(Local) == nil {
		envs = append([]Environment{{Name: Local}}, envs...)
	}
	return envs
}

// Get returns the named environment.
func (c *Config) Get(name string) (Environment, error) {
	if e := c.Find(name); e != nil {
		return *e, nil
	}
	if name == Local {
		return Environment{Name: Local}, nil
	}
	return Environment{}, c.notConfigured(name)
}

// Names returns the names of All.
func (c *Config) Names() []string {
	var names []string
	for _, e := range c.All() {
		names = append(names, e.Name)
	}
	return names
}

func (c *Config) notConfigured(name string) error {
	return fault.New(fault.NotFound, "cliconfig.environment_not_configured", "%s environment is not configured", name).
		WithHint("there is %s; add one with `cortex env configure %s --operator-endpoint URL`", strings.Join(c.Names(), ", "), name)
}

// Choose returns the environment for a command that was given the --env flag,
// which may be empty: the flag's, else the default, else the only one that is
// not this machine, else the local one.
func (c *Config) Choose(flag string) (Environment, error) {
	others := slices.DeleteFunc(slices.Clone(c.Environments), Environment.IsLocal)
	switch {
	case flag != "":
		return c.Get(flag)
	case c.DefaultEnvironment != "":
		return c.Get(c.DefaultEnvironment)
	case len(others) == 1:
		return others[0], nil
	case len(others) == 0:
		return c.Get(Local)
	}
	return Environment{}, fault.New(fault.Usage, "cli.environment_not_set", "there are several environments and none of them is the default").
		WithHint("name one with --env, or choose a default with `cortex env default NAME`")
}

// SetDefault makes name the environment of commands that name none, and reports
// whether it was so before.
func (c *Config) SetDefault(name string) (already bool, err error) {
	if _, err := c.Get(name); err != nil {
		return false, err
	}
	already = c.DefaultEnvironment == name
	c.DefaultEnvironment = name
	return already, nil
}

// Put adds e, or replaces the entry of its name. Before another environment is added it
// makes explicit which one commands go to: the only one there is, or the one that is
// added to none.
func (c *Config) Put(e Environment) {
	if old := c.Find(e.Name); old != nil {
		*old = e
		return
	}
	if c.DefaultEnvironment == "" {
		switch len(c.Environments) {
		case 0:
			c.DefaultEnvironment = e.Name
		case 1:
			c.DefaultEnvironment = c.Environments[0].Name
		}
	}
	if e.IsLocal() {
		c.Environments = append([]Environment{e}, c.Environments...)
	} else {
		c.Environments = append(c.Environments, e)
	}
}

// Rename gives an environment another name, which is not checked here.
func (c *Config) Rename(from, to string) error {
	e := c.Find(from)
	if e == nil {
		return c.notConfigured(from)
	}
	if c.Find(to) != nil {
		return fault.New(fault.Conflict, "cliconfig.environment_already_configured", "%s environment is already configured", to).
			WithHint("delete it first with `cortex env delete %s`", to)
	}
	e.Name = to
	if c.DefaultEnvironment == from {
		c.DefaultEnvironment = to
	}
	return nil
}

// Remove takes an environment out, whatever is wrong with its entry, and returns that.
// The local one cannot go, but an entry for it that an older release has left can.
func (c *Config) Remove(name string) (Environment, error) {
	e := c.Find(name)
	switch {
	case name == Local && (e == nil || e.Provider == ""):
		return Environment{}, fault.New(fault.Conflict, "cliconfig.environment_not_configured", "environment local is this machine and cannot be deleted").
			WithHint("`cortex local stop` stops it; `cortex env configure local --aws-access-key-id \"\"` removes its credentials")
	case e == nil:
		return Environment{}, c.notConfigured(name)
	}
	gone := *e
	c.Environments = slices.DeleteFunc(c.Environments, func(e Environment) bool { return e.Name == name })
	if c.DefaultEnvironment == name {
		c.DefaultEnvironment = ""
	}
	return gone, nil
}
