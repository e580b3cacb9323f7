package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/filelock"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/trust"
)

// localName is the environment of this machine. It always exists.
const localName = "local"

const (
	defaultAPIPort  = 8888
	defaultTick     = 10 * time.Second
	maxConfigBytes  = 1 << 20
	maxEnvironments = 1000
	maxNameLength   = 63
)

// config is the content of cli.yaml. Keys of older releases that mean nothing
// any more are read over; telemetry is kept because it was the user's answer.
type config struct {
	Telemetry          *bool         `yaml:"telemetry,omitempty"`
	DefaultEnvironment string        `yaml:"default_environment,omitempty"`
	Environments       []environment `yaml:"environments"`
}

// environment is a place to which commands go.
type environment struct {
	Name             string `yaml:"name"`
	OperatorEndpoint string `yaml:"operator_endpoint,omitempty"`
	Provider         string `yaml:"provider,omitempty"` // of older releases

	// What the operator has to show, and which cluster it has to be of: set by
	// `cortex env configure`, read by the Python client too.
	Anchor    trust.Anchor `yaml:",inline"`
	ClusterID string       `yaml:"cluster_id,omitempty"`

	// The rest is of the local environment only.
	AWSAccessKeyID     string `yaml:"aws_access_key_id,omitempty"`
	AWSSecretAccessKey string `yaml:"aws_secret_access_key,omitempty"`
	AWSSessionToken    string `yaml:"aws_session_token,omitempty"`
	AWSRegion          string `yaml:"aws_region,omitempty"`
	APIPort            *int   `yaml:"api_port,omitempty"`
	AutoscalingTick    string `yaml:"autoscaling_tick,omitempty"`
}

func (e environment) local() bool { return e.Name == localName }

// credentials returns the variables that APIs of the local environment get.
func (e environment) credentials() map[string]string {
	env := map[string]string{}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": e.AWSAccessKeyID, "AWS_SECRET_ACCESS_KEY": e.AWSSecretAccessKey,
		"AWS_SESSION_TOKEN": e.AWSSessionToken, "AWS_REGION": e.AWSRegion, "AWS_DEFAULT_REGION": e.AWSRegion,
	} {
		if value != "" {
			env[name] = value
		}
	}
	return env
}

func (c *config) find(name string) *environment {
	for i := range c.Environments {
		if c.Environments[i].Name == name {
			return &c.Environments[i]
		}
	}
	return nil
}

// all returns every environment, local first even when the file does not name it.
func (c *config) all() []environment {
	envs := slices.Clone(c.Environments)
	if c.find(localName) == nil {
		envs = append([]environment{{Name: localName}}, envs...)
	}
	return envs
}

// get returns the named environment.
func (c *config) get(name string) (environment, error) {
	if e := c.find(name); e != nil {
		return *e, nil
	}
	if name == localName {
		return environment{Name: localName}, nil
	}
	return environment{}, errNotConfigured(name, c)
}

func errNotConfigured(name string, c *config) error {
	var names []string
	for _, e := range c.all() {
		names = append(names, e.Name)
	}
	return fault.New(fault.NotFound, "cliconfig.environment_not_configured", "%s environment is not configured", name).
		WithHint("there is %s; add one with `cortex env configure %s --operator-endpoint URL`", strings.Join(names, ", "), name)
}

// choose returns the environment for a command that was given the --env flag,
// which may be empty: the flag's, else the default, else the only one of the
// file, else the local one.
func (c *config) choose(flag string) (environment, error) {
	switch {
	case flag != "":
		return c.get(flag)
	case c.DefaultEnvironment != "":
		return c.get(c.DefaultEnvironment)
	case len(c.Environments) == 1:
		return c.Environments[0], nil
	case len(c.Environments) == 0:
		return environment{Name: localName}, nil
	}
	return environment{}, fault.New(fault.Usage, "cli.environment_not_set", "there are several environments and none of them is the default").
		WithHint("name one with --env, or choose a default with `cortex env default NAME`")
}

func (a *app) configFile() string { return filepath.Join(a.configDir, "cli.yaml") }

// readConfig reads and checks cli.yaml; a missing one is empty.
func (a *app) readConfig() (*config, error) {
	c, err := a.parseConfig()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, e := range c.Environments {
		if err := e.check(); err != nil {
			f := fault.From(fmt.Errorf("%s: %w", a.configFile(), err))
			if f.Hint == "" {
				f = f.WithHint("correct the file, or remove the entry with `cortex env delete %s`", e.Name)
			}
			return nil, f
		}
		if seen[e.Name] {
			return nil, fault.New(fault.Invalid, "cliconfig.duplicate_environment_names",
				"%s: duplicate environment names (%s is defined more than once)", a.configFile(), e.Name).
				WithHint("remove one of them from the file")
		}
		seen[e.Name] = true
	}
	return c, nil
}

// parseConfig reads cli.yaml without judging its entries.
func (a *app) parseConfig() (*config, error) {
	f, err := os.Open(a.configFile())
	if errors.Is(err, os.ErrNotExist) {
		return &config{}, nil
	}
	unreadable := func(err error) error {
		return fault.New(fault.Invalid, "configreader.invalid_yaml", "reading %s: %w", a.configFile(), err).
			WithHint("correct the file, or move it away to start with the local environment only")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(data) > maxConfigBytes {
		return nil, unreadable(fmt.Errorf("it is larger than %d bytes", maxConfigBytes))
	}
	c := &config{}
	if len(strings.TrimSpace(string(data))) == 0 {
		return c, nil
	}
	if err := yaml.Unmarshal(data, c); err != nil {
		return nil, unreadable(err)
	}
	if len(c.Environments) > maxEnvironments {
		return nil, unreadable(fmt.Errorf("it has more than %d environments", maxEnvironments))
	}
	return c, nil
}

// check reports what is wrong with an environment of the file.
func (e environment) check() error {
	switch {
	case e.Name == "" || len(e.Name) > maxNameLength || strings.ContainsAny(e.Name, " \t\r\n/"):
		return fault.New(fault.Invalid, "configreader.invalid_str",
			"%q is not the name of an environment: 1 to %d characters without spaces and slashes", e.Name, maxNameLength)
	case e.Provider != "" && e.Provider != "aws":
		return fault.New(fault.Invalid, "configreader.disallowed_value",
			"environment %s has provider: %s, which this release does not know", e.Name, e.Provider).
			WithHint("clean up with `cortex env delete %s`; this machine is the environment local", e.Name)
	case e.local() && e.OperatorEndpoint != "":
		return fault.New(fault.Invalid, "configreader.disallowed_value",
			"environment local is this machine and has no operator_endpoint").WithHint("give that environment another name")
	case !e.local():
		if _, err := operatorEndpoint(e.OperatorEndpoint); err != nil {
			return err
		}
		_, err := e.tls()
		return err
	}
	if e.APIPort != nil && (*e.APIPort < 0 || *e.APIPort > 65535) {
		return fault.New(fault.Invalid, "configreader.disallowed_value", "api_port %d is not a port (0 to 65535)", *e.APIPort)
	}
	_, err := e.tick()
	return err
}

// tls returns what the operator of e has to show.
func (e environment) tls() (*tls.Config, error) {
	cfg, err := e.Anchor.TLS()
	if err != nil {
		return nil, fault.New(fault.Invalid, "configreader.disallowed_value", "environment %s: %w", e.Name, err).
			WithHint("set it again with `cortex env configure %s --operator-endpoint %s` and --ca FILE or --fingerprint", e.Name, e.OperatorEndpoint)
	}
	return cfg, nil
}

func (e environment) tick() (time.Duration, error) {
	if e.AutoscalingTick == "" {
		return defaultTick, nil
	}
	d, err := time.ParseDuration(e.AutoscalingTick)
	if err == nil {
		err = hostconfig.CheckTick(d)
	}
	if err != nil {
		return 0, fault.New(fault.Invalid, "configreader.disallowed_value", "autoscaling_tick %q: %w", e.AutoscalingTick, err)
	}
	return d, nil
}

// operatorEndpoint returns the canonical form of an operator's address; https
// where no scheme is given.
func operatorEndpoint(text string) (string, error) {
	refuse := func(why string) error {
		return fault.New(fault.Invalid, "cli.invalid_operator_endpoint", "%q is not the endpoint of an operator: %s", text, why).
			WithHint("an endpoint looks like https://operator.example.com")
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", refuse("it is empty")
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", refuse("it does not parse")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", refuse("its scheme is neither https nor http")
	case u.Hostname() == "":
		return "", refuse("it has no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", refuse("it has more than a scheme, a host, a port and a path")
	case u.Scheme == "http" && !httpapi.IsLoopback(u.Hostname()):
		return "", refuse("plain http is for loopback addresses only")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// changeConfig lets fn change the configuration; nobody else changes it
// meanwhile, and readers see the old file or the new one. Entries are not judged
// before, so that a bad one can be removed; what fn makes must be good.
func (a *app) changeConfig(ctx context.Context, fn func(*config) error) error {
	if err := os.MkdirAll(a.configDir, 0o700); err != nil {
		return fmt.Errorf("creating the configuration folder: %w", err)
	}
	unlock, err := filelock.Lock(ctx, a.configDir, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("locking %s: %w", a.configDir, err)
	}
	defer unlock()
	c, err := a.parseConfig()
	if err != nil {
		return err
	}
	if err := fn(c); err != nil {
		return err
	}
	data, err := toYAML(c)
	if err != nil {
		return err
	}
	return atomicfile.Replace(a.configFile(), data)
}
