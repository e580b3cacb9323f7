package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// eksCluster is a cluster of EKS that the node stands for, in an account that another
// program simulates.
type eksCluster struct {
	Cluster   string `json:"cluster"`   // its name, which tokens have to be made for
	Region    string `json:"region"`    // whose STS proves them
	Proxy     string `json:"proxy"`     // URL, through which STS is reached
	Authority string `json:"authority"` // file of who vouches for the names of AWS, PEM
	Entries   string `json:"entries"`   // file with the access entries
}

// authenticator is the part that knows identities of AWS: what EKS runs beside its API
// servers. Only a node that stands for a cluster of EKS has it.
const authenticator = "aws-iam-authenticator"

var authenticatorModule = module{name: "authenticator", packages: map[string]string{
	"sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator": authenticator,
}}

// eksTag is that of the images of such a node: it is nobody else's, and new.
const eksTag = "aws"

// healthPort is where the authenticator says on every address that it is well, whatever it
// is told.
const healthPort = "21363"

// eks starts the node as the cluster of EKS that a file describes, with the images of this
// checkout.
func eks(ctx context.Context, n *node, file string) error {
	if err := requireRoot(n, "up"); err != nil {
		return err
	}
	if len(running()) > 0 {
		return errors.New("a node runs already, which is no cluster of this account: make kube-down ends it")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading what the cluster is: %w", err)
	}
	c := &eksCluster{}
	if err := json.Unmarshal(text, c); err != nil || c.Cluster == "" || c.Proxy == "" {
		return fmt.Errorf("%s does not say which cluster of EKS the node is to be", file)
	}
	n.eks = c
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := images(ctx, n); err != nil {
		if cleanup := n.remove(context.WithoutCancel(ctx)); cleanup != nil {
			err = fmt.Errorf("%w; then cleaning up: %w", err, cleanup)
		}
		return err
	}
	return nil
}

// buildEKS builds what a node that is a cluster of EKS is made of, so that it can start at
// once when it is asked for.
func buildEKS(ctx context.Context, n *node) error {
	if err := build(ctx, n); err != nil {
		return err
	}
	if err := buildAuthenticator(ctx, n); err != nil {
		return err
	}
	n.eks = &eksCluster{}
	for _, s := range n.sources() {
		if err := n.step(s.name, func() (string, error) {
			image, err := n.build(ctx, s)
			return image.Name, err
		}); err != nil {
			return err
		}
	}
	return n.giveBack()
}

// eksFile is where the node remembers which cluster of EKS it is.
func eksFile() string { return filepath.Join(dataDir, "eks.json") }

func rememberedEKS() *eksCluster {
	text, err := os.ReadFile(eksFile())
	if err != nil {
		return nil
	}
	c := &eksCluster{}
	if json.Unmarshal(text, c) != nil {
		return nil
	}
	return c
}

// buildAuthenticator builds it beside the programs of the node, unless it is there.
func buildAuthenticator(ctx context.Context, n *node) error {
	if n.prebuilt {
		if _, err := os.Stat(n.program(authenticator)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("CORTEX_KUBE_PROGRAMS names a folder without %s", authenticator)
		}
		return nil
	}
	_, err := n.buildModules(ctx, []module{authenticatorModule}, "building aws-iam-authenticator: this is done once and takes some minutes, up to five on two cores")
	return err
}

func (n *node) webhook() string { return n.config("webhook.yaml") }

// authenticatorPart says how the authenticator is run. It reaches nothing but the proxy:
// its library would look for a role of the machine first.
func (n *node) authenticatorPart() part {
	return part{name: authenticator, args: []string{"server", "--config=" + n.config("authenticator.yaml")}, env: []string{
		"AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=" + n.eks.Region, "HTTPS_PROXY=" + n.eks.Proxy, "NO_PROXY=" + bridgeAddr, "SSL_CERT_FILE=" + n.eks.Authority,
	}}
}

// authenticatorConfig has it ask the access entries first, then aws-auth, as EKS says that
// it does. An entry means who it was made for, not whoever has the name now.
func (n *node) authenticatorConfig() string {
	return fmt.Sprintf(`clusterID: %q
server:
  hostname: 127.0.0.1
  address: 127.0.0.1
  port: %d
  stateDir: %q
  generateKubeconfig: %q
  kubeconfig: %q
  backendMode: [DynamicFile, EKSConfigMap]
  dynamicfilepath: %q
  dynamicfileUserIDStrict: true
  reservedPrefixConfig:
    - backendMode: DynamicFile
      usernamePrefixReserveList: ["aws:", "iam:", "amazon:", "system:", "eks:"]
`, n.eks.Cluster, n.port+portAuthenticator, n.config(""), n.webhook(), n.pki("admin.kubeconfig"), n.eks.Entries)
}

// startAuthenticator starts it before the API server, which reads a file of it.
func (s *starter) startAuthenticator(ctx context.Context) (string, error) {
	n := s.node
	if err := n.writeKubeconfig(n.pki("admin.kubeconfig"), "admin"); err != nil {
		return "", err
	}
	if err := s.start(authenticator); err != nil {
		return "", err
	}
	return "identities of AWS, for cluster " + n.eks.Cluster, s.until(ctx, func(context.Context) error {
		_, err := os.Stat(n.webhook())
		return err //nolint:wrapcheck // until says what was waited for
	})
}

// hideHealth keeps the authenticator's own port from others than this machine.
func hideHealth(ctx context.Context) error {
	for _, program := range []string{"iptables", "ip6tables"} {
		_, err := command(ctx, program, "-w", "-I", "INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", healthPort, "-m", "comment", "--comment", cgroup, "-j", "DROP")
		if err != nil && program == "iptables" {
			return err // a machine may be without the other
		}
	}
	return nil
}

// awsNames is what the DNS of the node says of the names of AWS that pods ask for.
func (n *node) awsNames() string {
	if n.eks == nil {
		return ""
	}
	return fmt.Sprintf(`amazonaws.com:%[1]d amazonaws.com.cn:%[1]d {
    bind %[2]s
    errors
    template IN A {
        answer "{{ .Name }} 5 IN A %[2]s"
    }
    template ANY ANY {
        rcode NOERROR
    }
}
`, n.port+portDNS, bridgeAddr)
}

// trusted are the files by which what runs in an image believes the names of AWS: this is
// no image of the product, but of a world in which somebody else has them.
func (n *node) trusted(s source) map[string]string {
	if n.eks == nil || !slices.Contains([]string{"operator", "gateway"}, s.name) {
		return nil
	}
	return map[string]string{"/etc/ssl/certs/ca-certificates.crt": n.eks.Authority}
}
