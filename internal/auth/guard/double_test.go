package guard_test

import (
	"context"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/workload"
)

// service is what the guard stands before. It counts what gets through to it.
type service struct {
	workload.Service // nil: what a test does not expect is a panic
	calls            atomic.Int64
}

func newService() *service { return &service{} }

func (s *service) Info(context.Context) (workload.Info, error) {
	s.calls.Add(1)
	return workload.Info{Environment: cluster}, nil
}

func (s *service) List(context.Context) ([]workload.APIResponse, error) {
	s.calls.Add(1)
	return []workload.APIResponse{}, nil
}

func (s *service) Watch(_ context.Context, _ workload.WatchQuery, fn func(workload.Watched) error) error {
	s.calls.Add(1)
	return fn(workload.Watched{ID: "1", Snapshot: true})
}

func (s *service) Get(context.Context, string) (workload.APIResponse, error) {
	s.calls.Add(1)
	return workload.APIResponse{}, nil
}

func (s *service) Deploy(context.Context, workload.DeployRequest) ([]workload.DeployResult, error) {
	s.calls.Add(1)
	return []workload.DeployResult{}, nil
}

func (s *service) Secrets(context.Context) ([]workload.Secret, error) {
	s.calls.Add(1)
	return nil, nil
}

func (s *service) Keys(context.Context) ([]workload.Key, error) {
	s.calls.Add(1)
	return nil, nil
}

func (s *service) Calls(context.Context, workload.CallsQuery) ([]workload.Calls, error) {
	s.calls.Add(1)
	return nil, nil
}

func (s *service) Volumes(context.Context) ([]workload.VolumeInfo, error) {
	s.calls.Add(1)
	return nil, nil
}

// Events has something to say every few milliseconds, for as long as it may.
func (s *service) Events(ctx context.Context, _ workload.EventQuery, fn func(workload.Event) error) error {
	s.calls.Add(1)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := fn(workload.Event{API: "iris"}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const secretOfAll = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"

// identities is everybody whom STS knows, by the name that tests use.
func identities() map[string]authtest.Identity {
	long := func(name, arn, userID, account string) authtest.Identity {
		return authtest.Identity{
			AccessKeyID: ("AKIA" + name + "EXAMPLEEXAMPLE")[:20], SecretAccessKey: secretOfAll + name, ARN: arn, UserID: userID, Account: account,
		}
	}
	session := func(name, arn, userID, account string) authtest.Identity {
		id := long(name, arn, userID, account)
		id.AccessKeyID = "ASIA" + id.AccessKeyID[4:]
		id.SessionToken = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVz+" + name + "="
		return id
	}
	const (
		own   = "arn:aws:iam::" + ownAccount + ":"
		ownST = "arn:aws:sts::" + ownAccount + ":"
		user  = "AIDACKCEVSQ6C2EXAMPLE"
		role  = "AROADBQP57FF2AEXAMPLE"
	)
	return map[string]authtest.Identity{
		"alice":     long("ALICE", own+"user/alice", user, ownAccount),
		"pathed":    long("PATHED", own+"user/division/team/alice", user, ownAccount),
		"mallory":   long("MALLORY", "arn:aws:iam::"+otherAccount+":user/mallory", user, otherAccount),
		"root":      long("ROOT", own+"root", ownAccount, ownAccount),
		"role":      session("ROLE", ownST+"assumed-role/Admin/alice@example.com", role+":alice@example.com", ownAccount),
		"sso":       session("SSO", ownST+"assumed-role/AWSReservedSSO_AdministratorAccess_0123456789abcdef/alice", role+":alice", ownAccount),
		"node":      session("NODE", ownST+"assumed-role/eks-nodes/i-0123456789abcdef0", role+":i-0123456789abcdef0", ownAccount),
		"otherrole": session("OTHERROLE", "arn:aws:sts::"+otherAccount+":assumed-role/Admin/alice@example.com", role+":alice@example.com", otherAccount),
		"federated": session("FEDERATED", ownST+"federated-user/bob", ownAccount+":bob", ownAccount),
		"gov":       long("GOV", "arn:aws-us-gov:iam::"+ownAccount+":user/alice", user, ownAccount),
		"china":     session("CHINA", "arn:aws-cn:sts::"+ownAccount+":assumed-role/Admin/alice", role+":alice", ownAccount),
	}
}
