package capacity

import (
	"fmt"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// maxDevices bounds how many devices of a kind a node is said to have.
const maxDevices = 1024

// Parse reads amounts as cpu=8,mem=32Gi,gpu=1: each at most once, in any order, what
// is not named is none.
func Parse(text string) (Amount, error) {
	var a Amount
	fields := map[string]func(string) error{
		"cpu": quantity(&a.CPU, workload.Quantity.Milli), "mem": quantity(&a.Mem, workload.Quantity.Value),
		"gpu": devices(&a.GPU), "inf": devices(&a.Inf),
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		read, ok := fields[name]
		if !ok {
			return Amount{}, fmt.Errorf("%q is not cpu=…, mem=…, gpu=… or inf=…, each once", part)
		}
		delete(fields, name)
		if err := read(value); err != nil {
			return Amount{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return a, nil
}

func quantity(to *int64, unit func(workload.Quantity) int64) func(string) error {
	return func(text string) error {
		q, err := workload.ParseQuantity(text)
		if err == nil {
			*to = unit(q)
		}
		return err
	}
}

func devices(to *int64) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > maxDevices {
			return fmt.Errorf("%q is not a number of 0 to %d", text, maxDevices)
		}
		*to = n
		return nil
	}
}
