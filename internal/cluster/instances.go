package cluster

import (
	"regexp"
	"slices"
	"strings"
)

var typeShape = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)

// family is a family of instance types on which APIs cannot run.
type family struct {
	names  string // each is the whole name of a family, or the beginning of some where it ends with *
	code   string
	reason string
}

// refusedFamilies are looked through in this order.
var refusedFamilies = []family{
	{"g4ad", CodeAMDGPU, "it has GPUs by AMD, which Cortex cannot give to APIs"},
	{"mac*", CodeMac, "machines by Apple cannot be nodes of a cluster"},
	{"f1 f2", CodeFPGA, "it has FPGAs, which Cortex cannot give to APIs"},
	{"vt1", CodeAlveo, "it has Alveo accelerators, which Cortex cannot give to APIs"},
	{"dl1", CodeGaudi, "it has Gaudi accelerators, which Cortex cannot give to APIs"},
	{"dl2q", CodeTypeNotSupported, "it has accelerators by Qualcomm, which Cortex cannot give to APIs"},
	{"trn*", CodeTrainium, "it has Trainium accelerators, which Cortex cannot give to APIs"},
	{"g7*", CodeTypeNotSupported, "its GPUs need a driver that the images of EKS do not have"},
	{"c1 cc1 cc2 cg1 cg2 cr1 g1 g2 hi1 hs1 m1 m2 m3 t1", CodeTypeNotSupported, "it is of a generation that a network load balancer cannot reach"},
}

func (f family) has(name string) bool {
	return slices.ContainsFunc(strings.Fields(f.names), func(n string) bool {
		beginning, some := strings.CutSuffix(n, "*")
		return name == n || some && strings.HasPrefix(name, beginning)
	})
}

var tooSmall = []string{"nano", "micro"}

// refusal says why nodes cannot be of an instance type, as far as its name tells.
type refusal struct{ code, message, hint string }

// refuseType returns nil where the name of a type says nothing against it.
func refuseType(name string) *refusal {
	if !typeShape.MatchString(name) {
		return &refusal{CodeInvalidInstanceType, "is not an instance type", "such as m5.large"}
	}
	of, size, _ := strings.Cut(name, ".")
	if slices.Contains(tooSmall, size) {
		return &refusal{CodeTypeTooSmall, "is too small: nano and micro instances have no room for an API beside what every node runs", "take a small one, or larger"}
	}
	for _, f := range refusedFamilies {
		if f.has(of) {
			return &refusal{f.code, "cannot be used: " + f.reason, "take another instance type"}
		}
	}
	return nil
}

// quotaClass is a limit of EC2 on virtual CPUs that families of instance types share.
type quotaClass struct {
	families       string // as in family; looked through in order
	what           string
	onDemand, spot string // codes of the quotas
}

// The last class is that of everything else, which has no "*" in AWS's words: A, C, D,
// H, I, M, R, T, Z.
var quotaClasses = []quotaClass{
	{"p5*", "P", "L-417A185B", "L-C4BD4855"}, // spot counts P5 apart, on demand does not
	{"p2 p3* p4* p6*", "P", "L-417A185B", "L-7212CCBC"},
	{"g* vt*", "G and VT", "L-DB2E81BA", "L-3819A6DF"},
	{"inf*", "Inf", "L-1945791B", "L-B5D1601B"},
	{"x*", "X", "L-7295265B", "L-E3A00192"},
	{"u-* u7*", "High Memory", "L-43DA4232", ""},
	{"hpc*", "HPC", "L-F7808C92", ""},
	{"a* c* d* h* i* m* r* t* z*", "Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08"},
}

// quotaClassOf returns the class of an instance type, or nil where it is not known.
func quotaClassOf(name string) *quotaClass {
	of, _, _ := strings.Cut(name, ".")
	for i := range quotaClasses {
		if (family{names: quotaClasses[i].families}).has(of) {
			return &quotaClasses[i]
		}
	}
	return nil
}
