package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The identities of the node. The organizations are the groups that Kubernetes
// knows by these names.
var identities = []struct {
	file, name, group string
	names             []string // what it serves as
	addresses         []string
}{
	{file: "etcd", name: "etcd", addresses: []string{"127.0.0.1"}},
	{
		file: "apiserver", name: "kube-apiserver", addresses: []string{bridgeAddr, apiAddr, "127.0.0.1"},
		names: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
	},
	{file: "kubelet-server", name: nodeName, addresses: []string{bridgeAddr}, names: []string{nodeName}},
	{file: "admin", name: "kubernetes-admin", group: "system:masters"},
	{file: "apiserver-to-kubelet", name: "kube-apiserver-to-kubelet", group: "system:masters"},
	{file: "controllers", name: "system:kube-controller-manager"},
	{file: "scheduler", name: "system:kube-scheduler"},
	{file: "kubelet", name: "system:node:" + nodeName, group: "system:nodes"},
	{file: "proxy", name: "system:kube-proxy"},
	{file: "dns", name: "system:coredns"},
	{file: "sts", name: "sts", names: []string{stsName}},
}

// Those who speak to the API server with a kubeconfig file of their own.
var clients = []string{"controllers", "scheduler", "kubelet", "proxy", "dns"}

// The node lives shorter than this.
const validity = 365 * 24 * time.Hour

func (n *node) pki(name string) string { return filepath.Join(dataDir, "pki", name) }

// makePKI writes an authority of this node's own, a certificate for each identity
// and the kubeconfig files that carry them.
func (n *node) makePKI() (string, error) {
	if err := os.MkdirAll(filepath.Join(dataDir, "pki"), 0o700); err != nil {
		return "", fmt.Errorf("making the folder of the certificates: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	ca := template("cortex-kube")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	ca.ExtKeyUsage = nil
	if err := n.writeCertificate("ca", ca, ca, key.Public(), key); err != nil {
		return "", err
	}
	for _, id := range identities {
		leaf := template(id.name)
		if id.group != "" {
			leaf.Subject.Organization = []string{id.group}
		}
		leaf.DNSNames = id.names
		for _, address := range id.addresses {
			leaf.IPAddresses = append(leaf.IPAddresses, net.ParseIP(address))
		}
		leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", fmt.Errorf("making a key: %w", err)
		}
		if err := n.writeCertificate(id.file, leaf, ca, leafKey.Public(), key); err != nil {
			return "", err
		}
		if err := writeKey(n.pki(id.file+".key"), leafKey); err != nil {
			return "", err
		}
	}
	if err := n.writeAccountKey(); err != nil {
		return "", err
	}
	for _, client := range clients {
		if err := n.writeKubeconfig(n.pki(client+".kubeconfig"), client); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("an authority of its own and %d certificates", len(identities)), nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic("kube: the machine gives no random numbers: " + err.Error())
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (n *node) writeCertificate(name string, cert, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, signer)
	if err != nil {
		return fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	return writePEM(n.pki(name+".crt"), "CERTIFICATE", der)
}

// writeAccountKey makes the key that signs the tokens of service accounts. It is an
// RSA key because RS256 is the one algorithm that every verifier has.
func (n *node) writeAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	if err := writeKey(n.pki("accounts.key"), key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return writePEM(n.pki("accounts.pub"), "PUBLIC KEY", der)
}

func writeKey(path string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// writeKubeconfig writes a file that needs no other one.
func (n *node) writeKubeconfig(path, identity string) error {
	var parts [3][]byte
	for i, name := range []string{"ca.crt", identity + ".crt", identity + ".key"} {
		text, err := os.ReadFile(n.pki(name))
		if err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", identity, err)
		}
		parts[i] = text
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[nodeName] = &clientcmdapi.Cluster{Server: n.server(), CertificateAuthorityData: parts[0]}
	cfg.AuthInfos[identity] = &clientcmdapi.AuthInfo{ClientCertificateData: parts[1], ClientKeyData: parts[2]}
	cfg.Contexts[nodeName] = &clientcmdapi.Context{Cluster: nodeName, AuthInfo: identity}
	cfg.CurrentContext = nodeName
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
