// Package environments is where commands can go: the local environment, which always
// exists, and those that a user has configured in cli.yaml. The settings of the local one
// are in a file of their own: the command line of 0.42 reads cli.yaml too, and every
// command of it fails when an entry has no operator_endpoint.
//
// It promises that what Read returns is checked entry by entry, that changes by several
// processes at once follow each other, and that a reader meanwhile sees the old file or
// the new one. It must not know commands, flags or output, and reaches no environment:
// localenv and httpapi do.
//
// The Python client reads the same file.
package environments

import (
	"crypto/tls"
	"net/url"
	"strings"
	"time"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/trust"
)

// Local is the name of the environment of this machine. It always exists.
const Local = "local"

// DefaultAPIPort is where the local environment serves APIs unless told otherwise.
const DefaultAPIPort = 8888

const maxNameLength = 63

// Environment is a place to which commands go.
type Environment struct {
	Name             string `yaml:"name,omitempty"`
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

// IsLocal reports whether e is this machine.
func (e Environment) IsLocal() bool { return e.Name == Local }

// ofOldLocal reports whether e is the local environment of releases 0.18 to 0.25.
func (e Environment) ofOldLocal() bool { return e.Provider == "local" && e.OperatorEndpoint == "" }

// Credentials returns the variables that APIs of the local environment get.
func (e Environment) Credentials() map[string]string {
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

// Check reports what is wrong with an entry of the file.
func (e Environment) Check() error {
	switch {
	case e.Name == "" || len(e.Name) > maxNameLength || strings.ContainsAny(e.Name, " \t\r\n/"):
		return fault.New(fault.Invalid, "configreader.invalid_str",
			"%q is not the name of an environment: 1 to %d characters without spaces and slashes", e.Name, maxNameLength)
	case e.Provider != "" && e.Provider != "aws":
		return fault.New(fault.Invalid, "configreader.disallowed_value",
			"environment %s has provider: %s, which this release does not know", e.Name, e.Provider).
			WithHint("clean up with `cortex env delete %s`; this machine is the environment local", e.Name)
	case e.IsLocal() && e.OperatorEndpoint != "":
		return fault.New(fault.Invalid, "configreader.disallowed_value",
			"environment local is this machine and has no operator_endpoint").WithHint("give that environment another name")
	case !e.IsLocal():
		if _, err := ParseEndpoint(e.OperatorEndpoint); err != nil {
			return err
		}
		_, err := e.TLS()
		return err
	}
	if e.APIPort != nil && (*e.APIPort < 0 || *e.APIPort > 65535) {
		return fault.New(fault.Invalid, "configreader.disallowed_value", "api_port %d is not a port (0 to 65535)", *e.APIPort)
	}
	_, err := e.Tick()
	return err
}

// TLS returns what the operator of e has to show; nil is what the system trusts.
func (e Environment) TLS() (*tls.Config, error) {
	cfg, err := e.Anchor.TLS()
	if err != nil {
		return nil, fault.New(fault.Invalid, "configreader.disallowed_value", "environment %s: %w", e.Name, err).
			WithHint("set it again with `cortex env configure %s --operator-endpoint %s` and --ca FILE or --fingerprint", e.Name, e.OperatorEndpoint)
	}
	return cfg, nil
}

// Tick is the time between two decisions of the local autoscaler.
func (e Environment) Tick() (time.Duration, error) {
	if e.AutoscalingTick == "" {
		return autoscaler.DefaultTick, nil
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

// ParseEndpoint returns the canonical form of an operator's address; https
// where no scheme is given.
func ParseEndpoint(text string) (string, error) {
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
