package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// replicaVariable makes the test binary one of several operators of one cluster.
const replicaVariable = "CORTEX_E2E_REPLICA"

// replicaConfig is the value of the variable, as JSON.
type replicaConfig struct {
	Dir    string // of the audit
	Shared string // where
	STS    string
	TLS    string // folder of an authority, shared
}

// nothing is a service without workloads.
type nothing struct{ workload.Service }

func (nothing) List(context.Context) ([]workload.APIResponse, error) { return nil, nil }

// runReplica serves the management API over a store that others share, until it
// is killed. It says on the standard output where.
func runReplica(ctx context.Context, text string) error {
	var cfg replicaConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	source, err := certificate.Open(ctx, certificate.Config{Dir: cfg.TLS, Names: []string{"127.0.0.1"}, Log: log})
	if err != nil {
		return err
	}
	pinned, err := iam.NewSTS(ctx, iam.STSConfig{Region: teamRegion, Endpoint: cfg.STS})
	if err != nil {
		return err
	}
	proofs, err := iam.New(ctx, iam.Config{
		Account: teamAccount, Partition: "aws", Region: teamRegion, ClusterName: "team", STS: pinned, Shared: sharing{cfg.Shared},
		Fingerprint: source.Fingerprint, Telemetry: telemetry.New("test", ""), Log: log,
		Limits: iam.Limits{AddressPerSecond: 1e6, AddressBurst: 1e6, STSPerSecond: 1e6, STSBurst: 1e6},
	})
	if err != nil {
		return err
	}
	rules, err := policy.New(policy.Config{Account: teamAccount, Partition: "aws", Environment: "team", Log: log})
	if err != nil {
		return err
	}
	lines, err := audit.Open(audit.Config{Path: filepath.Join(cfg.Dir, "audit.log"), Log: log})
	if err != nil {
		return err
	}
	defer lines.Close()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- proofs.Run(ctx) }()
	server := &http.Server{
		Handler: httpapi.NewHandler(nothing{}, httpapi.Options{
			Guard: guard.New(guard.Config{IAM: proofs, Policy: rules, Audit: lines, Environment: "team"}), Log: log,
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { ended <- server.Serve(tls.NewListener(plain, source.TLS())) }()
	fmt.Printf("listening on https://%s\n", plain.Addr())
	return <-ended
}
