package migrate

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/manifest"
)

// values are those of the chart that a cluster file says something about.
type values struct {
	ClusterName string      `yaml:"clusterName"`
	Region      string      `yaml:"region"`
	NodeGroups  []nodeGroup `yaml:"nodeGroups,omitempty"`
	Gateway     program     `yaml:"gateway"`
	Operator    program     `yaml:"operator"`
}

type nodeGroup struct {
	Name     string `yaml:"name"`
	Priority int64  `yaml:"priority"`
}

type program struct {
	LoadBalancer balancer `yaml:"loadBalancer"`
}

type balancer struct {
	Scheme         string   `yaml:"scheme"`
	CIDRs          []string `yaml:"cidrs,omitempty"`
	CertificateARN string   `yaml:"certificateARN,omitempty"`
}

func valuesOf(c *cluster.Config) values {
	v := values{
		ClusterName: c.ClusterName, Region: c.Region,
		Gateway:  program{balancer{Scheme: c.APILoadBalancerScheme, CIDRs: c.APICIDRs, CertificateARN: c.SSLCertificateARN}},
		Operator: program{balancer{Scheme: c.OperatorLoadBalancerScheme, CIDRs: c.OperatorCIDRs}},
	}
	for _, g := range c.NodeGroups {
		v.NodeGroups = append(v.NodeGroups, nodeGroup{g.Name, g.Priority})
	}
	return v
}

// cluster maps a cluster file to values of the chart.
func (r *Report) cluster(in File) {
	parsed, err := manifest.ParseCluster(in.Path, in.Data)
	if err != nil {
		r.problems(in, err)
		return
	}
	data, err := yaml.Marshal(valuesOf(parsed.Config))
	if err != nil {
		panic(err) // strings and numbers only
	}
	name := strings.TrimSuffix(in.Path, path.Ext(in.Path)) + ".values.yaml"
	r.write(name, data)
	r.find(in, 1, ToDo, "a cluster file: a cluster that 0.42 has made is not taken over, `cortex cluster up` makes one beside it",
		"`cortex cluster plan "+in.Path+"` shows of what; on a Kubernetes that there is, label the nodes of each group with cortex.dev/node-group, and `cortex install --account-id ACCOUNT --values "+below(name)+"`")
	for _, w := range parsed.Warnings {
		r.problem(in, w)
	}
}

// environments says of each environment whose it is.
func (r *Report) environments(in File) {
	var c struct {
		Environments []yaml.Node `yaml:"environments"`
	}
	if err := yaml.Unmarshal(in.Data, &c); err != nil {
		r.find(in, 1, ToDo, "a file of environments that cannot be read", "correct it")
		return
	}
	for _, n := range c.Environments {
		var e struct{ Name, Provider string }
		_ = n.Decode(&e) // what is not there stays empty
		switch {
		case e.Provider == "local":
			r.find(in, n.Line, Done, "environment "+e.Name+" of a release before 0.26 is ignored", "`cortex env delete "+e.Name+"` removes it")
		case e.Name != "local":
			r.find(in, n.Line, ToDo, "environment "+e.Name+" may be an operator of 0.42, which this release does not manage",
				"when its successor is installed: `cortex env configure "+e.Name+" --operator-endpoint URL`")
		}
	}
}
