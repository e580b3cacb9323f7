package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
)

const watchPeriod = 2 * time.Second

func addWatchFlag(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "re-run the command every 2 seconds")
}

// maybeWatch runs show once, or on a terminal again and again until ctx ends.
func (a *app) maybeWatch(ctx context.Context, watch bool, show func(context.Context, io.Writer) error) error {
	if !watch {
		return show(ctx, a.streams.Out)
	}
	if _, ok := terminal(a.streams.Out); !ok {
		return fault.New(fault.Usage, "cli.no_terminal_width", "--watch needs a terminal").
			WithHint("leave --watch out, and run the command again when you like")
	}
	b := board{out: a.streams.Out, on: true}
	for {
		var text bytes.Buffer
		if err := show(ctx, &text); err != nil {
			return err
		}
		body := strings.TrimRight(text.String(), "\n")
		b.draw(strings.Split(fmt.Sprintf("%s\n\n%s", a.paint.dim(time.Now().Format(timeFormat)), body), "\n"))
		t := time.NewTimer(watchPeriod)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
