package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// A part is one program of the node.
type part struct {
	name string
	args []string
	env  []string // beside what every part has
}

// parts are the programs in the order in which they start; they end in the other.
func (n *node) parts() []part {
	port := func(p int) string { return strconv.Itoa(n.port + p) }
	kubeconfig := func(client string) string { return n.pki(client + ".kubeconfig") }
	etcd, etcdPeer := "https://"+n.local(portEtcd), "https://"+n.local(portEtcdPeer)
	all := []part{
		{name: "etcd", args: []string{
			"--data-dir=" + filepath.Join(dataDir, "etcd"), "--name=" + nodeName, "--log-level=warn",
			// What a test wrote need not outlive a power cut, and disks are slow.
			"--unsafe-no-fsync",
			"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + etcdPeer, "--initial-advertise-peer-urls=" + etcdPeer,
			"--initial-cluster=" + nodeName + "=" + etcdPeer,
			"--client-cert-auth", "--trusted-ca-file=" + n.pki("ca.crt"), "--cert-file=" + n.pki("etcd.crt"), "--key-file=" + n.pki("etcd.key"),
			"--peer-client-cert-auth", "--peer-trusted-ca-file=" + n.pki("ca.crt"), "--peer-cert-file=" + n.pki("etcd.crt"), "--peer-key-file=" + n.pki("etcd.key"),
		}},
		{name: "containerd", args: []string{"--config=" + n.config("containerd.toml")}},
		{name: "kube-apiserver", args: []string{
			"--etcd-servers=" + etcd, "--etcd-cafile=" + n.pki("ca.crt"), "--etcd-certfile=" + n.pki("etcd.crt"), "--etcd-keyfile=" + n.pki("etcd.key"),
			"--bind-address=" + bridgeAddr, "--advertise-address=" + bridgeAddr, "--secure-port=" + port(portAPI),
			"--tls-cert-file=" + n.pki("apiserver.crt"), "--tls-private-key-file=" + n.pki("apiserver.key"), "--client-ca-file=" + n.pki("ca.crt"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--service-cluster-ip-range=" + svcRange,
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + n.pki("accounts.pub"), "--service-account-signing-key-file=" + n.pki("accounts.key"),
			"--kubelet-certificate-authority=" + n.pki("ca.crt"),
			"--kubelet-client-certificate=" + n.pki("apiserver-to-kubelet.crt"), "--kubelet-client-key=" + n.pki("apiserver-to-kubelet.key"),
			// Otherwise logs and exec look the name of the node up in the machine's DNS.
			"--kubelet-preferred-address-types=InternalIP",
		}},
		{name: "kube-controller-manager", args: []string{
			"--kubeconfig=" + kubeconfig("controllers"), "--authentication-kubeconfig=" + kubeconfig("controllers"), "--authorization-kubeconfig=" + kubeconfig("controllers"),
			"--bind-address=127.0.0.1", "--secure-port=" + port(portControllers), "--cert-dir=" + filepath.Join(dataDir, "certs"),
			"--leader-elect=false", "--use-service-account-credentials",
			"--service-account-private-key-file=" + n.pki("accounts.key"), "--root-ca-file=" + n.pki("ca.crt"),
			"--flex-volume-plugin-dir=" + filepath.Join(dataDir, "volumeplugins"),
		}},
		{name: "kube-scheduler", args: []string{
			"--kubeconfig=" + kubeconfig("scheduler"), "--authentication-kubeconfig=" + kubeconfig("scheduler"), "--authorization-kubeconfig=" + kubeconfig("scheduler"),
			"--bind-address=127.0.0.1", "--secure-port=" + port(portScheduler), "--cert-dir=" + filepath.Join(dataDir, "certs"),
			"--leader-elect=false",
		}},
		{name: "kubelet", args: []string{
			"--config=" + n.config("kubelet.yaml"), "--kubeconfig=" + kubeconfig("kubelet"), "--root-dir=" + filepath.Join(dataDir, "kubelet"),
			"--cert-dir=" + filepath.Join(dataDir, "certs"), "--hostname-override=" + nodeName, "--node-ip=" + bridgeAddr,
		}},
		{name: "kube-proxy", args: []string{"--config=" + n.config("proxy.yaml")}},
		{name: "coredns", args: []string{"-conf=" + n.config("Corefile")}},
	}
	if n.eks == nil {
		return all
	}
	server := slices.IndexFunc(all, func(p part) bool { return p.name == "kube-apiserver" })
	// A person who has been revoked is out when the API server forgets who they were.
	all[server].args = append(all[server].args, "--authentication-token-webhook-config-file="+n.webhook(), "--authentication-token-webhook-cache-ttl=5s")
	return slices.Insert(all, server, n.authenticatorPart())
}

func (n *node) config(name string) string { return filepath.Join(dataDir, "config", name) }

// writeConfigs writes the files that the parts read.
func (n *node) writeConfigs() error {
	files := map[string]string{
		"containerd.toml":         n.containerdConfig(),
		"cni/10-cxkube0.conflist": n.cniConfig(),
		"kubelet.yaml":            n.kubeletConfig(),
		"proxy.yaml":              n.proxyConfig(),
		"Corefile":                n.dnsConfig(),
	}
	if n.eks != nil {
		files["authenticator.yaml"] = n.authenticatorConfig()
	}
	for name, text := range files {
		path := n.config(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making the folder of the configuration: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing the configuration: %w", err)
		}
	}
	return nil
}

// restrict_oom_score_adj: without it runc dies where nobody may lower the score,
// and reports only an EOF. Namespaces are mounted below the state so that they are
// known as this node's; nothing else of containerd may lie in a place that another
// containerd of the machine uses.
func (n *node) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = %[2]q
oom_score = 0

[grpc]
address = %[3]q

[plugins.'io.containerd.internal.v1.opt']
path = %[4]q

[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %[5]q

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%[6]q]
conf_dir = %[7]q

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = %[8]q
Root = %[9]q
SystemdCgroup = false
`, filepath.Join(dataDir, "containerd"), filepath.Join(runDir, "containerd"), socket, filepath.Join(dataDir, "opt"),
		pauseImage, n.cni, n.config("cni"), n.runc, filepath.Join(runDir, "runc"))
}

// Pods are not masqueraded: they reach each other and this machine, and nothing
// beyond it.
func (n *node) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [
    {
      "type": "bridge",
      "bridge": %q,
      "isGateway": true,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "dataDir": %q,
        "ranges": [[{"subnet": %q, "gateway": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
`, bridge, bridge, filepath.Join(runDir, "addresses"), podRange, bridgeAddr)
}

func (n *node) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
port: %[2]d
healthzBindAddress: 127.0.0.1
healthzPort: %[3]d
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[4]s}
authorization: {mode: Webhook}
tlsCertFile: %[5]s
tlsPrivateKeyFile: %[6]s
containerRuntimeEndpoint: unix://%[7]s
cgroupDriver: cgroupfs
cgroupRoot: /%[8]s
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [%[9]s]
resolvConf: ""
podLogsDir: %[10]s
volumePluginDir: %[11]s
maxPods: 250
# Everything on the node was loaded by hand: nothing may be thrown away to make room.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%%
  nodefs.inodesFree: 1%%
  imagefs.available: 1%%
`, bridgeAddr, n.port+portKubelet, n.port+portKubeletHealth, n.pki("ca.crt"), n.pki("kubelet-server.crt"), n.pki("kubelet-server.key"),
		socket, cgroup, dnsAddr, filepath.Join(dataDir, "pods"), filepath.Join(dataDir, "volumeplugins"))
}

// The limits of conntrack are the machine's business: 0 leaves each as it is. Where
// the kernel cannot show packets of a bridge to iptables, an answer from a pod to
// another one would pass the translation of the Service by; then every request of a
// Service is masqueraded.
func (n *node) proxyConfig() string {
	_, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: %s
clusterCIDR: %s
clientConnection: {kubeconfig: %s}
healthzBindAddress: %s
metricsBindAddress: %s
nodePortAddresses: [%s/32]
iptables: {localhostNodePorts: false, masqueradeAll: %t}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, nodeName, podRange, n.pki("proxy.kubeconfig"), n.local(portProxyHealth), n.local(portProxyMetrics), bridgeAddr, err != nil)
}

// Names of the cluster are answered, every other one is said not to exist: in a
// block of its own, because CoreDNS asks this plugin before that of Kubernetes.
func (n *node) dnsConfig() string {
	return fmt.Sprintf(`cluster.local:%[1]d in-addr.arpa:%[1]d {
    bind %[2]s
    errors
    kubernetes cluster.local in-addr.arpa {
        kubeconfig %[3]s
        ttl 5
    }
}
%[4]s.:%[1]d {
    bind %[2]s
    errors
    template ANY ANY . {
        rcode NXDOMAIN
    }
}
`, n.port+portDNS, bridgeAddr, n.pki("dns.kubeconfig"), n.awsNames())
}
