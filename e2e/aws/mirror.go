package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// mirror has a real Kubernetes of this machine be what the account says its cluster is: it
// starts one when a cluster is made and ends it when that is deleted, has the API server
// know the access entries, and gives its one node the labels of the node groups.
type mirror struct {
	account   *awstest.Account
	region    string
	program   string // scripts/kube, built
	dir       string // for files that the node reads
	proxy     string // URL
	authority string // file
	log       io.Writer
	// opened is called with the address of the node when it is there, and ends with ctx.
	opened func(ctx context.Context, address string) error

	mu      sync.Mutex
	name    string // of the cluster that the node stands for
	at      awstest.Endpoint
	there   bool
	ports   map[int]bool // whether somebody listens, by ports that were asked for
	applied string       // of the objects, what they were made from
	entries string       // likewise
	labels  map[string]string
	guest   *guest
}

// look is how often the account is looked at.
const look = 200 * time.Millisecond

// administrators is the group of those whom the policy of EKS for administrators makes
// one. EKS has an authorizer for it; here the group is bound to a role.
const administrators = "awstest:administrators"

func (m *mirror) endpoint(cluster string) (awstest.Endpoint, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at, m.there && m.name == cluster
}

func (m *mirror) answers(cluster string, port int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.there || m.name != cluster {
		return false
	}
	up := m.ports[port]
	m.ports[port] = up
	return up
}

// address is that of the nodes of a cluster.
func (m *mirror) address(cluster string) (string, bool) {
	at, there := m.endpoint(cluster)
	host, _, err := net.SplitHostPort(strings.TrimPrefix(at.URL, "https://"))
	return host, there && err == nil
}

// Run mirrors until ctx ends, and then ends the node.
func (m *mirror) Run(ctx context.Context) (err error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	defer func() { err = errors.Join(err, m.down(context.WithoutCancel(ctx))) }()
	for {
		clusters := slices.DeleteFunc(m.account.Clusters(), func(c awstest.Cluster) bool { return c.Status == "DELETING" })
		i := slices.IndexFunc(clusters, func(c awstest.Cluster) bool { return c.Name == m.name })
		switch {
		case m.name != "" && i < 0:
			err = m.down(ctx)
		case m.name == "" && len(clusters) > 0:
			err = m.up(ctx, clusters[0].Name)
		case i >= 0:
			if err := m.sync(ctx, clusters[i]); err != nil && ctx.Err() == nil {
				fmt.Fprintf(m.log, "mirror: %v\n", err)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// guest is what runs for as long as a node does.
type guest struct {
	stop  context.CancelFunc
	ended chan error
}

func invite(ctx context.Context, run func(context.Context) error) *guest {
	ctx, stop := context.WithCancel(ctx)
	g := &guest{stop, make(chan error, 1)}
	go func() { g.ended <- run(ctx) }()
	return g
}

func (g *guest) end() error {
	if g == nil {
		return nil
	}
	g.stop()
	return <-g.ended
}

// settings is what scripts/kube reads of a cluster of EKS.
type settings struct {
	Cluster   string `json:"cluster"`
	Region    string `json:"region"`
	Proxy     string `json:"proxy"`
	Authority string `json:"authority"`
	Entries   string `json:"entries"`
}

func (m *mirror) file(name string) string { return filepath.Join(m.dir, name) }

func (m *mirror) up(ctx context.Context, name string) error {
	m.mu.Lock()
	m.name, m.there, m.applied, m.entries, m.labels, m.ports = name, false, "", "", nil, map[int]bool{}
	m.mu.Unlock()
	fmt.Fprintf(m.log, "mirror: a Kubernetes for cluster %s\n", name)
	if err := m.writeEntries(nil); err != nil {
		return err
	}
	text, err := json.Marshal(settings{name, m.region, m.proxy, m.authority, m.file("access-entries.json")})
	if err == nil {
		err = os.WriteFile(m.file("cluster.json"), text, 0o600)
	}
	if err != nil {
		return err
	}
	if _, err := m.command(ctx, nil, m.program, "eks", m.file("cluster.json")); err != nil {
		return err
	}
	out, err := m.kubectl(ctx, nil, "config", "view", "--raw", "--minify", "-o", "jsonpath={.clusters[0].cluster.server} {.clusters[0].cluster.certificate-authority-data}")
	if err != nil {
		return err
	}
	url, data, _ := strings.Cut(strings.TrimSpace(out), " ")
	ca, err := base64.StdEncoding.DecodeString(data)
	if err != nil || url == "" {
		return fmt.Errorf("the kubeconfig of the node is not as expected: %q", out)
	}
	if _, err := m.kubectl(ctx, []byte(administratorsRole), "apply", "-f", "-"); err != nil {
		return err
	}
	m.mu.Lock()
	m.at, m.there = awstest.Endpoint{URL: url, CA: ca}, true
	m.mu.Unlock()
	address, _ := m.address(name)
	m.guest = invite(ctx, func(ctx context.Context) error { return m.opened(ctx, address) })
	fmt.Fprintf(m.log, "mirror: cluster %s is at %s\n", name, url)
	return nil
}

const administratorsRole = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "awstest-administrators"},
"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "` + administrators + `"}]}`

// down ends the node, if there is one of this account.
func (m *mirror) down(ctx context.Context) error {
	m.mu.Lock()
	name := m.name
	m.name, m.there = "", false
	m.mu.Unlock()
	if name == "" {
		return nil
	}
	fmt.Fprintf(m.log, "mirror: cluster %s is gone\n", name)
	err := m.guest.end()
	m.guest = nil
	_, failed := m.command(ctx, nil, m.program, "down")
	return errors.Join(err, failed)
}

// sync brings the Kubernetes to what EKS would have made of it.
func (m *mirror) sync(ctx context.Context, c awstest.Cluster) error {
	m.probe(ctx)
	if err := m.writeEntries(c.Entries); err != nil {
		return err
	}
	text, err := json.Marshal([]any{c.NodeRoles, c.Groups})
	if err != nil || string(text) == m.applied {
		return err
	}
	if err := errors.Join(m.mapRoles(ctx, c.NodeRoles), m.label(ctx, c.Groups)); err != nil {
		return err
	}
	m.applied = string(text)
	return nil
}

// probe looks whether somebody listens at the ports that target groups ask.
func (m *mirror) probe(ctx context.Context) {
	address, there := m.address(m.name)
	m.mu.Lock()
	ports := slices.Collect(maps.Keys(m.ports))
	m.mu.Unlock()
	for _, port := range ports {
		if !there {
			return
		}
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
		}
		m.mu.Lock()
		m.ports[port] = err == nil
		m.mu.Unlock()
	}
}

// mapping is an access entry as aws-iam-authenticator reads it.
type mapping struct {
	User     string   `json:"userarn,omitempty"`
	Role     string   `json:"rolearn,omitempty"`
	ID       string   `json:"userid"`
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

// writeEntries writes the access entries. They are written into the same file: that is
// what its reader watches.
func (m *mirror) writeEntries(entries []awstest.Entry) error {
	users, roles := []mapping{}, []mapping{}
	for _, e := range entries {
		made := mapping{ID: e.ID, Username: e.Username, Groups: append([]string{}, e.Groups...)}
		if e.Administrator {
			made.Groups = append(made.Groups, administrators)
		}
		if e.Role {
			made.Role = e.ARN
			roles = append(roles, made)
			continue
		}
		made.User = e.ARN
		users = append(users, made)
	}
	text, err := json.Marshal(map[string]any{"mapUsers": users, "mapRoles": roles, "mapAccounts": []string{}})
	if err != nil || string(text) == m.entries {
		return err
	}
	m.entries = string(text)
	stamped := strings.TrimSuffix(string(text), "}") + `,"LastUpdatedDateTime":"` + strconv.FormatInt(time.Now().Unix(), 10) + `","Version":"1"}`
	return os.WriteFile(m.file("access-entries.json"), []byte(stamped), 0o600)
}

// mapRoles keeps the roles of nodes in aws-auth, as EKS does for its node groups, and
// leaves the rest of it alone.
func (m *mirror) mapRoles(ctx context.Context, roles []string) error {
	if len(roles) == 0 {
		return nil
	}
	found, err := m.kubectl(ctx, nil, "get", "configmap", "aws-auth", "--namespace", "kube-system", "--ignore-not-found", "-o", "json")
	if err != nil {
		return err
	}
	var has struct {
		Data map[string]string `json:"data"`
	}
	if strings.TrimSpace(found) != "" {
		if err := json.Unmarshal([]byte(found), &has); err != nil {
			return err
		}
	}
	text := has.Data["mapRoles"]
	for _, role := range roles {
		if !strings.Contains(text, role) {
			text += "- groups:\n  - system:bootstrappers\n  - system:nodes\n  rolearn: " + role + "\n  username: system:node:{{EC2PrivateDNSName}}\n"
		}
	}
	if text == has.Data["mapRoles"] {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "aws-auth", "namespace": "kube-system"}, "data": map[string]string{"mapRoles": text},
	})
	if err != nil {
		return err
	}
	_, err = m.kubectl(ctx, patch, "apply", "--server-side", "--force-conflicts", "--field-manager", "eks", "-f", "-")
	return err
}

// label gives the node the labels of every group: it is the node of each. What several
// groups say, it has of the first; their taints it cannot have, which would keep the pods
// of the other groups off.
func (m *mirror) label(ctx context.Context, groups []awstest.Group) error {
	labels := map[string]string{}
	for _, g := range groups {
		if len(g.Nodes) == 0 {
			continue
		}
		all := maps.Clone(g.Labels)
		all["node.kubernetes.io/instance-type"], all["topology.kubernetes.io/zone"], all["topology.kubernetes.io/region"] = g.Nodes[0].Type, g.Nodes[0].Zone, m.region
		for key, value := range all {
			labels[key] = cmp.Or(labels[key], value)
		}
	}
	args := []string{"label", "node", "--all", "--overwrite"}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		args = append(args, key+"="+labels[key])
	}
	for _, key := range slices.Sorted(maps.Keys(m.labels)) {
		if _, still := labels[key]; !still {
			args = append(args, key+"-")
		}
	}
	if maps.Equal(labels, m.labels) {
		return nil
	}
	_, err := m.kubectl(ctx, nil, args...)
	if err == nil {
		m.labels = labels
	}
	return err
}

// kubectl asks the API server as the administrator of the node, whom no token proves.
func (m *mirror) kubectl(ctx context.Context, stdin []byte, args ...string) (string, error) {
	folder := filepath.Join(filepath.Dir(m.program), "kube")
	return m.command(ctx, stdin, filepath.Join(folder, "programs", "kubectl"), append([]string{"--kubeconfig", filepath.Join(folder, "kubeconfig")}, args...)...)
}

// command runs a program of the node to its end, also when this program is told to end.
func (m *mirror) command(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), complaints.String())
	}
	return out.String(), nil
}
