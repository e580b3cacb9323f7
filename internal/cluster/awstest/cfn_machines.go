package awstest

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// lower is properties as EKS and EC2 take them: their names begin with a small letter.
// What is below the names in whole stays as it is.
func lower(v any, whole ...string) any {
	switch x := v.(type) {
	case []any:
		list := make([]any, len(x))
		for i, each := range x {
			list[i] = lower(each, whole...)
		}
		return list
	case object:
		o := object{}
		for key, each := range x {
			name := string(unicode.ToLower(rune(key[0]))) + key[1:]
			if strings.Contains(strings.Join(whole, " "), name) {
				o[name] = each
				continue
			}
			o[name] = lower(each, whole...)
		}
		return o
	}
	return v
}

// machineResources are launch templates and queues.
var machineResources = map[string]*resourceKind{
	"AWS::EC2::LaunchTemplate":           {create: makeTemplate, update: updateLaunchTemplate, remove: remover("DeleteLaunchTemplate", "LaunchTemplateId"), takes: 4 * time.Second},
	"AWS::AutoScaling::AutoScalingGroup": {create: makeScalingGroup, update: changeScalingGroup, remove: removeScalingGroup, ready: scalingGroupReady, gone: scalingGroupGone, read: readScalingGroup, limit: 35 * time.Minute},
	"AWS::SQS::Queue":                    {create: makeQueue, remove: removeQueue, takes: time.Minute},
}

func makeTemplate(h *handler) (string, object, error) {
	in := h.some("LaunchTemplateName", "LaunchTemplateData")
	var specs []any
	list, _ := h.props["TagSpecifications"].([]any)
	for _, each := range list {
		s := each.(object)
		specs = append(specs, object{"ResourceType": s["ResourceType"], "Tag": s["Tags"]})
	}
	set(in, "TagSpecification", specs)
	out, err := h.do("ec2", "CreateLaunchTemplate", in)
	if err != nil {
		return "", nil, err
	}
	id := textOf(out["launchTemplate"].(object)["launchTemplateId"])
	return id, object{"LaunchTemplateId": id, "LatestVersionNumber": "1", "DefaultVersionNumber": "1"}, nil
}

func updateLaunchTemplate(h *handler, old object) error {
	if mustJSON(old["LaunchTemplateData"]) == mustJSON(h.props["LaunchTemplateData"]) {
		return nil
	}
	out, err := h.do("ec2", "CreateLaunchTemplateVersion", object{"LaunchTemplateId": h.r.physical, "LaunchTemplateData": h.props["LaunchTemplateData"]})
	if err != nil {
		return err
	}
	h.r.attrs = without(h.r.attrs)
	h.r.attrs["LatestVersionNumber"] = textOf(out["launchTemplateVersion"].(object)["versionNumber"])
	return nil
}

func makeQueue(h *handler) (string, object, error) {
	name := h.text("QueueName")
	if name == "" {
		name = h.stack.name + "-" + h.r.logical + "-" + h.letters(idLetters, 12)
	}
	tags := object{}
	for k, v := range tagsOf(h.props) {
		tags[k] = v
	}
	out, err := h.do("sqs", "CreateQueue", object{"QueueName": name, "tags": tags, "Attributes": object{"FifoQueue": strconv.FormatBool(h.text("FifoQueue") == "true")}})
	url := textOf(out["QueueUrl"])
	return url, object{"QueueUrl": url, "Arn": h.arn("sqs", name)}, err
}

func removeQueue(h *handler) error {
	return h.try("sqs", "DeleteQueue", object{"QueueUrl": h.r.physical})
}
