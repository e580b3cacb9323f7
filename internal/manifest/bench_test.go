package manifest

import (
	"fmt"
	"strings"
	"testing"
)

// manyAPIs is a file of n APIs of the size that people write.
func manyAPIs(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `- name: api-%d
  kind: RealtimeAPI
  pod:
    port: 8080
    max_concurrency: 10
    containers:
      - name: api
        image: quay.io/team/iris:latest
        command: ["python", "-m", "server"]
        env:
          MODEL: s3://bucket/model-%d
          LEVEL: "info"
        compute:
          cpu: 200m
          mem: 256Mi
        readiness_probe:
          http_get:
            path: /healthz
            port: 8080
  autoscaling:
    min_replicas: 1
    max_replicas: 10
    window: 60s
  update_strategy:
    max_surge: 25%%
  networking:
    endpoint: /api-%d
`, i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse1000(b *testing.B) {
	data := manyAPIs(1000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("cortex.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

// A thousand APIs that are all wrong: what cortex validate is made for.
func BenchmarkParse1000Wrong(b *testing.B) {
	data := []byte(strings.ReplaceAll(string(manyAPIs(1000)), "max_concurrency", "max_concurency"))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("cortex.yaml", data); err == nil {
			b.Fatal("accepted")
		}
	}
}
