package eks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"cortex.dev/cortex/internal/fault"
)

// door is a Kubernetes that says something of its own to whoever asks who is mapped.
type door struct {
	*kube
	says error
}

func (d *door) Mapped(context.Context, Place) ([]Mapping, error) { return nil, d.says }

// How a cluster is, is told to those whom it lets in, whatever AWS allows them; and to
// everybody who may ask AWS while it cannot say whom it lets in.
func TestInfoIsForThoseWhomTheClusterLetsIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		w.key = w.aws.AddUser("carol", minimum(t, "iris"))
		settle(t)
		for _, tt := range []struct {
			name string
			says error
			in   bool
		}{
			{"she is let in", nil, true},
			{"she is nobody there", fault.New(fault.Unproven, "install.unauthorized", "who?"), false},
			{"she may not look", fault.New(fault.Forbidden, "install.forbidden", "no"), false},
			{"nobody answers", fault.New(fault.Disconnected, "install.unreachable", "gone"), true},
			{"it makes no sense", errors.New("no"), true},
		} {
			a, err := Open(ctx, w.aws.Config(w.key), &door{w.kube, tt.says})
			if err != nil {
				t.Fatal(err)
			}
			s, err := a.Info(ctx, "iris")
			switch {
			case tt.in && (err != nil || s.Operator == ""):
				t.Errorf("%s: Info() = %+v, %v", tt.name, s, err)
			case !tt.in && (fault.Code(err) != CodeNotGranted || !strings.Contains(fault.From(err).Hint, "cortex cluster grant "+carol)):
				t.Errorf("%s: Info() = %v, want %s and who helps", tt.name, err, CodeNotGranted)
			}
		}
	})
}
