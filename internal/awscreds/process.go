package awscreds

import (
	"context"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// throughProcess is the SDK's provider for a profile whose origin is a
// credential_process, with two things that the SDK's own has not: what the process
// says on stderr is also kept for the error, and a grandchild that holds its output
// open cannot hold us up. Roles on the way are assumed as the SDK does.
func (r Resolver) throughProcess(cfg aws.Config, shared *config.SharedConfig, said *tail) aws.CredentialsProvider {
	var origin aws.CredentialsProvider
	if shared.Source != nil {
		origin = r.throughProcess(cfg, shared.Source, said)
	} else {
		line := shared.CredentialProcess
		if s := r.section(unquoted(shared.Profile)); s != nil && s.process != "" {
			line = s.process
		}
		origin = processcreds.NewProviderCommand(processcreds.NewCommandBuilderFunc(func(ctx context.Context) (*exec.Cmd, error) {
			return command(ctx, line, said), nil
		}), func(o *processcreds.Options) { o.Timeout = r.Patience })
	}
	if shared.RoleARN == "" {
		return origin
	}
	cfg.Credentials = origin
	return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), shared.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = shared.RoleSessionName
		if shared.ExternalID != "" {
			o.ExternalID = aws.String(shared.ExternalID)
		}
		if d := shared.RoleDurationSeconds; d != nil && *d > 15*time.Minute {
			o.Duration = *d
		}
	})
}

// command is what the SDK runs for a credential_process: it may ask the user on
// the terminal, and it has our environment.
func command(ctx context.Context, line string, said *tail) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Stdin = os.Stdin
	cmd.Stderr = io.MultiWriter(os.Stderr, said)
	cmd.WaitDelay = time.Second
	return cmd
}

// maxStderr is how much of what a failed process said is repeated, and maxHeard
// how much is looked at: a secret is masked before the rest is cut off.
const (
	maxStderr = 1 << 10
	maxHeard  = 32 << 10
)

// tail keeps the last bytes that were written to it.
type tail struct {
	limit int
	data  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p[max(0, len(p)-t.limit):]...)
	t.data = t.data[max(0, len(t.data)-t.limit):]
	return len(p), nil
}
