package awstest

import (
	"slices"
	"time"
)

// driftTakes is how long a look at a stack takes.
const driftTakes = 20 * time.Second

// existing reports whether what a resource stands for is still there.
func (h *handler) existing() bool {
	return resourceKinds[h.r.kind].read(h) != nil
}

// differences are the properties that are not as the template has them.
func (h *handler) differences() []any {
	k := resourceKinds[h.r.kind]
	if k.read == nil {
		return nil
	}
	now := k.read(h)
	var list []any
	for _, name := range sorted(now) {
		want, asked := h.props[name]
		if !asked || sameValue(want, now[name]) {
			continue
		}
		list = append(list, object{"PropertyPath": "/" + name, "ExpectedValue": valueText(want), "ActualValue": valueText(now[name]), "DifferenceType": "NOT_EQUAL"})
	}
	return list
}

// sameValue compares what a template says with what there is; lists in any order.
func sameValue(want, got any) bool {
	a, aList := want.([]any)
	b, bList := got.([]any)
	if !aList || !bList {
		return valueText(want) == valueText(got)
	}
	texts := func(list []any) []string {
		var all []string
		for _, v := range list {
			o, isObject := v.(object)
			if isObject {
				o = without(o, "Description")
				for k, each := range o {
					o[k] = textOf(each)
				}
				all = append(all, mustJSON(o))
				continue
			}
			all = append(all, valueText(v))
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(texts(a), texts(b))
}

func valueText(v any) string {
	if t := textOf(v); t != "" {
		return t
	}
	return mustJSON(v)
}

func detectDrift(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	if s.busy() || !slices.Contains([]string{"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"}, s.status) {
		return nil, invalid("Drift detection cannot be performed on stack [%s] while it is in %s state", s.name, s.status)
	}
	id := c.uuid()
	status := object{"StackId": s.id, "StackDriftDetectionId": id, "DetectionStatus": "DETECTION_IN_PROGRESS", "Timestamp": stamp(c.clock.now)}
	c.cfn.detections[id] = status
	c.clock.after(driftTakes, func() {
		drifted := 0
		for _, name := range sorted(s.resources) {
			r := s.resources[name]
			h := s.handler(r)
			switch {
			case resourceKinds[r.kind].read == nil:
				r.drift = "NOT_CHECKED"
				continue
			case !h.existing():
				r.drift = "DELETED"
			case len(h.differences()) > 0:
				r.drift = "MODIFIED"
			default:
				r.drift = "IN_SYNC"
				continue
			}
			drifted++
		}
		status["DetectionStatus"], status["StackDriftStatus"], status["DriftedStackResourceCount"] = "DETECTION_COMPLETE", "IN_SYNC", drifted
		if drifted > 0 {
			status["StackDriftStatus"] = "DRIFTED"
		}
		s.drift = object{"StackDriftStatus": status["StackDriftStatus"], "LastCheckTimestamp": stamp(c.clock.now)}
	})
	return object{"StackDriftDetectionId": id}, nil
}

func describeDriftDetection(c *call) (object, error) {
	status := c.cfn.detections[c.in.text("StackDriftDetectionId")]
	if status == nil {
		return nil, invalid("Drift detection with id %s does not exist", c.in.text("StackDriftDetectionId"))
	}
	return status, nil
}

func describeResourceDrifts(c *call) (object, error) {
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	wanted := c.in.texts("StackResourceDriftStatusFilters")
	var list []any
	for _, name := range sorted(s.resources) {
		r := s.resources[name]
		if r.drift == "" || r.drift == "NOT_CHECKED" || len(wanted) > 0 && !slices.Contains(wanted, r.drift) {
			continue
		}
		h := s.handler(r)
		o := object{
			"StackId": s.id, "LogicalResourceId": name, "PhysicalResourceId": r.physical, "ResourceType": r.kind, "StackResourceDriftStatus": r.drift,
			"ExpectedProperties": mustJSON(r.props), "Timestamp": stamp(c.clock.now), "PropertyDifferences": append([]any{}, h.differences()...),
		}
		list = append(list, o)
	}
	part, next, err := c.page(list, "NextToken", "MaxResults")
	if err != nil {
		return nil, err
	}
	out := object{"StackResourceDrifts": append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}
