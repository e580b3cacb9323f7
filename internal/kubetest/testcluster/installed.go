// Package testcluster describes Cortex on the node of `make kube-up` to whoever uses it:
// the demo, the scripts and the benchmarks.
//
// It promises to say which command is missing when there is no such node. It must not
// import what speaks to Kubernetes, which the demo of one machine would build too.
package testcluster

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"cortex.dev/cortex/internal/auth/authtest"
)

// Cluster is what users of the installation have to know.
type Cluster struct {
	Operator    string `json:"operator"`    // URL of the management API
	APIs        string `json:"apis"`        // URL
	Fingerprint string `json:"fingerprint"` // of the certificate of the management API
	Kubeconfig  string `json:"kubeconfig"`  // a file
	Kubectl     string `json:"kubectl"`     // a program
	IrisImage   string `json:"iris_image"`
	Account     string `json:"account"`
	Identities  string `json:"identities"` // file of those whom its STS knows
}

// Read reads the description that `make kube-up` leaves in bin/kube/cluster.json.
func Read(file string) (Cluster, error) {
	var c Cluster
	text, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("there is no cluster with Cortex: make kube-up starts one (%w)", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("reading %s: %w", file, err)
	}
	return c, nil
}

// Keys are those of somebody whom the cluster's STS knows, as AWS's programs read
// them from the environment. Whoever has no session token has an empty one, which
// hides that of the caller.
func (c Cluster) Keys(name string) (map[string]string, error) {
	text, err := os.ReadFile(c.Identities)
	if err != nil {
		return nil, fmt.Errorf("reading the identities of the cluster: %w", err)
	}
	var known authtest.Config
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.Identities, err)
	}
	for _, who := range known.Identities {
		if strings.HasSuffix(who.ARN, "/"+name) {
			return map[string]string{
				"AWS_ACCESS_KEY_ID": who.AccessKeyID, "AWS_SECRET_ACCESS_KEY": who.SecretAccessKey, "AWS_SESSION_TOKEN": who.SessionToken,
			}, nil
		}
	}
	return nil, fmt.Errorf("%s knows no %s", c.Identities, name)
}

// Environ appends keys to an environment.
func Environ(env []string, keys map[string]string) []string {
	for name, value := range keys {
		env = append(env, name+"="+value)
	}
	return env
}
