package deploy_test

import (
	"strings"
	"testing"
)

// Secrets with certificates are mounted where the gateways are told to look, and their Service
// has the port.
func TestTLSAtTheGateways(t *testing.T) {
	t.Parallel()
	text := mustRender(t, "cortex", `
apis: {hosts: ["*.apis.example.com"]}
gateway:
  tls: {secretNames: [apis-example-com, other], redirect: true}
  route: {enabled: true, parentRefs: [{name: public}]}
`)
	for _, want := range []string{
		"- --api-hosts=*.apis.example.com", "- --api-hosts-https",
		"- --tls-listen=:8444", "- --tls-secret=/etc/cortex/tls/apis-example-com", "- --tls-secret=/etc/cortex/tls/other", "- --https-redirect=443",
		"{name: apis-tls, containerPort: 8444}", "mountPath: /etc/cortex/tls/apis-example-com, readOnly: true", "secret: {secretName: other}",
		"{name: https, port: 443, targetPort: apis-tls}", "{protocol: TCP, port: 8444}", `hostnames: ["*.apis.example.com"]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the chart does not render %q", want)
		}
	}
	if plain := mustRender(t, "cortex", ""); strings.Contains(plain, "apis-tls") || strings.Contains(plain, "--tls-listen") {
		t.Error("there is TLS without certificates")
	}
}
