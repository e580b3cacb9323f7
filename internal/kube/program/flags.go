package program

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/tracing"
)

// ErrHelp says that a command line asks for help.
var ErrHelp = errors.New("help is wanted")

// Flags reads a command line whole: what is wrong with it is said at once, not one
// thing after another.
type Flags struct {
	Set   *flag.FlagSet
	wrong []string
}

// NewFlags returns the flags of a program, none yet.
func NewFlags(program string) *Flags {
	f := &Flags{Set: flag.NewFlagSet(program, flag.ContinueOnError)}
	f.Set.SetOutput(io.Discard)
	f.Set.Usage = func() {}
	return f
}

// List is a flag that may be repeated.
func (f *Flags) List(name string, to *[]string) {
	f.Set.Func(name, "", func(text string) error {
		*to = append(*to, text)
		return nil
	})
}

// Networks is a flag that may be repeated, of networks.
func (f *Flags) Networks(to *[]netip.Prefix, name string) {
	f.Set.Func(name, "", func(text string) error {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("not a network (for example 10.0.0.0/8)")
		}
		*to = append(*to, p.Masked())
		return nil
	})
}

// Duration is a time, which stays as it was when it cannot be read: then that is
// what is wrong with it, and not its bounds too.
func (f *Flags) Duration(to *time.Duration, name string, usual time.Duration) {
	*to = usual
	f.Set.Func(name, "", func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("not a duration (for example 10s)")
		}
		*to = d
		return nil
	})
}

// Number is likewise a number.
func (f *Flags) Number(to *float64, name string, usual float64) {
	*to = usual
	f.Set.Func(name, "", func(text string) error {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("not a number")
		}
		*to = n
		return nil
	})
}

func (f *Flags) Complain(bad bool, format string, args ...any) {
	if bad {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// Parse reads args. It fails only when help is wanted.
func (f *Flags) Parse(args []string) error {
	for {
		err := f.Set.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return ErrHelp
		case err != nil:
			// The words of package flag begin with one dash; ours have two.
			f.Complain(true, "%s", strings.Replace(strings.Replace(err.Error(), " -", " --", 1), "---", "--", 1))
		case f.Set.NArg() > 0:
			f.Complain(true, "unexpected argument %q", f.Set.Arg(0))
			args = f.Set.Args()[1:]
			continue
		default:
			return nil
		}
		args = f.Set.Args()
	}
}

// Fault is everything that is wrong, or nil.
func (f *Flags) Fault() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "kube.wrong_flags", "it does not start:\n  %s", strings.Join(f.wrong, "\n  ")).
		WithHint("see --help")
}

func (f *Flags) Address(name, value string) {
	_, port, err := net.SplitHostPort(value)
	n, number := strconv.Atoi(port)
	f.Complain(err != nil || number != nil || n < 0 || n > 65535, "--%s %q is not an address: host:port or :port", name, value)
}

// KubeName is the rule of the names of namespaces, accounts and pull secrets.
var KubeName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)

func (f *Flags) Name(name, value string) {
	f.Complain(!KubeName.MatchString(value), "%s %q is not a name as Kubernetes has them", name, value)
}

// Traces declares the flags of where traces are sent.
func (f *Flags) Traces(to *tracing.Settings) {
	f.Set.StringVar(&to.Endpoint, "trace-endpoint", "", "")
	f.Number(&to.Ratio, "trace-ratio", tracing.DefaultRatio)
}

// Problems takes over what is wrong with a part of the configuration.
func (f *Flags) Problems(list []string) { f.wrong = append(f.wrong, list...) }

// Pod is what the downward API tells a program of itself.
func (f *Flags) Pod(getenv func(string) string) (name, namespace string) {
	name, namespace = getenv("POD_NAME"), getenv("POD_NAMESPACE")
	f.Complain(name == "", "POD_NAME is not set: the name of this pod comes from the downward API")
	f.Complain(namespace == "", "POD_NAMESPACE is not set: the namespace of this pod comes from the downward API")
	return name, namespace
}
