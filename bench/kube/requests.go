package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// counted are who asks the API server, as service accounts of the installation.
var counted = []string{"operator", "gateway"}

// flowName is the FlowSchema that tells the requests of one of them from others'.
func flowName(name string) string { return prefix + name }

// tellApart makes the API server count the requests of the operators and those of the
// gateways for themselves. They keep the priority that every service account has.
func (c *cluster) tellApart(ctx context.Context) error {
	for _, name := range counted {
		all := flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: []flowcontrolv1.Subject{{
				Kind: flowcontrolv1.SubjectKindServiceAccount, ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: systemNamespace, Name: "cortex-" + name},
			}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
				Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true, Namespaces: []string{"*"},
			}},
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
		}
		schema := &flowcontrolv1.FlowSchema{
			ObjectMeta: metav1.ObjectMeta{Name: flowName(name)},
			Spec: flowcontrolv1.FlowSchemaSpec{
				PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-low"},
				MatchingPrecedence:         90, // before everybody's
				DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
				Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{all},
			},
		}
		if _, err := c.client.FlowcontrolV1().FlowSchemas().Create(ctx, schema, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the FlowSchema of the %ss: %w", name, err)
		}
	}
	return nil
}

// noLongerApart undoes tellApart.
func (c *cluster) noLongerApart() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var problems []error
	for _, name := range counted {
		if err := c.client.FlowcontrolV1().FlowSchemas().Delete(ctx, flowName(name), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			problems = append(problems, fmt.Errorf("taking the FlowSchema of the %ss away: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// requests are how many the API server was asked so far.
type requests struct {
	at      time.Time
	by      map[string]float64 // of operators and of gateways
	overall float64
}

func (c *cluster) requests(ctx context.Context) (requests, error) {
	text, err := c.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return requests{}, fmt.Errorf("reading the metrics of the API server: %w", err)
	}
	r := requests{at: time.Now(), by: map[string]float64{}, overall: sum(string(text), "apiserver_request_total")}
	for _, name := range counted {
		r.by[name] = sum(string(text), "apiserver_flowcontrol_dispatched_requests_total", `flow_schema="`+flowName(name)+`"`)
	}
	return r, nil
}

// since is how many requests a second came between two looks.
func (r requests) since(before requests) (operators, gateways, overall float64) {
	span := r.at.Sub(before.at).Seconds()
	return (r.by["operator"] - before.by["operator"]) / span, (r.by["gateway"] - before.by["gateway"]) / span, (r.overall - before.overall) / span
}

// sum adds the values of a metric, in the text format of Prometheus, whose labels
// have all the parts.
func sum(text, metric string, parts ...string) (total float64) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, metric+"{")
		if !ok {
			continue
		}
		labels, value, ok := strings.Cut(rest, "} ")
		for _, part := range parts {
			ok = ok && strings.Contains(labels, part)
		}
		if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); ok && err == nil {
			total += n
		}
	}
	return total
}
