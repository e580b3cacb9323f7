package operator

import (
	"fmt"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// codeRefused is the cause of what was declared and refused.
const codeRefused = "refused"

// refusals returns what was declared past this operator and refused, by name.
func (o *Operator) refusals() map[string]store.Refusal {
	if o.source == nil {
		return nil
	}
	all := map[string]store.Refusal{}
	for _, r := range o.source.Refusals() {
		all[r.Name] = r
	}
	return all
}

func refused(r store.Refusal) *workload.Refused {
	return &workload.Refused{Resource: r.Resource, Message: r.Message, Since: r.Since, Waiting: r.Waiting}
}

// orRefused adds to the error that name is not deployed that somebody tried.
func (o *Operator) orRefused(name string, err error) error {
	r, ok := o.refusals()[name]
	if !ok || !fault.Is(err, fault.NotFound) {
		return err
	}
	f := *fault.From(err)
	f.Message = fmt.Sprintf("%s is not deployed: %s was refused: %s", name, r.Resource, r.Message)
	return f.WithHint("%s", refusalFix(r))
}

func refusalFix(r store.Refusal) string {
	if r.Waiting {
		return "nothing, if what it waits for is on its way: it is judged again when something else is deployed or deleted"
	}
	return "correct the resource and apply it again"
}

// explainRefused is the explanation of what was never deployed.
func (o *Operator) explainRefused(name string, err error) (workload.Explanation, error) {
	r, ok := o.refusals()[name]
	if !ok || !fault.Is(err, fault.NotFound) {
		return workload.Explanation{}, err
	}
	e := workload.Explanation{Name: name, Kind: r.Kind, At: o.now().UTC()}
	sayRefused(&e, r)
	e.Steps = []workload.Step{{Layer: layerNames[layerSpec], Detail: e.Cause.Message}}
	return e, nil
}

// sayRefused adds to an explanation that a newer specification was refused. Where
// something else is wrong too, that is said first: it concerns who calls the API.
func sayRefused(e *workload.Explanation, r store.Refusal) {
	words := fmt.Sprintf("%s was refused: %s", r.Resource, strings.TrimSuffix(r.Message, "."))
	if e.Cause != nil {
		e.Steps[layerSpec].Detail += "; a newer specification in " + words
		return
	}
	e.Healthy = false
	e.Cause = &workload.Reason{
		Code: codeRefused, Message: words, Fix: refusalFix(r),
		Evidence: []workload.Evidence{{Kind: "spec", Text: r.Message}},
	}
	if len(e.Steps) > 0 {
		e.Steps[layerSpec].OK = false
		e.Steps[layerSpec].Detail += "; a newer specification in " + words
		e.Summary = fmt.Sprintf("%s goes on as it was deployed before: %s.", e.Name, words)
		return
	}
	e.Summary = fmt.Sprintf("%s is not deployed: %s.", e.Name, words)
}
