package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/fault"
)

// Stable codes of what stands in the way of an upgrade.
const (
	CodeOneMinor        = "clusterupgrade.one_minor_at_a_time"
	CodeNoWayBack       = "clusterupgrade.no_way_back"
	CodeNotFinished     = "clusterupgrade.not_finished"
	CodeUpgradeBlocked  = "clusterupgrade.blocked"
	CodeNotTestedWithIt = "clusterupgrade.too_new"
)

// Standing is which versions of Kubernetes the parts of a cluster have.
type Standing struct {
	Control string            // the control plane
	Groups  map[string]string // each managed node group
	Asked   string            // what was asked for last
	// From is where an upgrade to Asked has set out that has not come to its end; empty:
	// there is none.
	From string
}

// Going reports whether an upgrade has not come to its end. When AWS has moved the control
// plane on meanwhile, another one is wanted.
func (s Standing) Going() bool { return s.From != "" && minorOf(s.Control) <= minorOf(s.Asked) }

// Behind are the node groups of another version than the control plane.
func (s Standing) Behind() (groups []string) {
	for _, g := range sortedKeys(s.Groups) {
		if s.Groups[g] != s.Control {
			groups = append(groups, g+" ("+s.Groups[g]+")")
		}
	}
	return groups
}

// Target is the version that a cluster is brought to: to, or where that is empty the one
// after its own. Where AWS offers none, it is its own, with the newest images and add-ons.
func (s Standing) Target(to string, offered []KubernetesVersion) (string, error) {
	behind := s.Behind()
	switch {
	case to != "" && !versionShape.MatchString(to):
		return "", fault.New(fault.Usage, CodeVersionNotFound, "%s is no version of Kubernetes: want one such as %s", found(to), NewestKubernetes)
	case s.Going() && (to == "" || to == s.Asked):
		return s.Asked, nil
	case s.Going():
		return "", fault.New(fault.Conflict, CodeNotFinished, "the upgrade from %s to %s has not come to its end", s.From, s.Asked).
			WithHint("`cortex cluster upgrade --to %s` goes on with it", s.Asked)
	case (len(behind) > 0 || s.Asked != s.Control) && (to == "" || to == s.Control):
		return s.Control, nil // AWS has moved the control plane, or somebody has
	case len(behind) > 0:
		return "", fault.New(fault.Conflict, CodeNotFinished, "the control plane has Kubernetes %s, and these nodes have not: %s", s.Control, strings.Join(behind, ", ")).
			WithHint("`cortex cluster upgrade --to %s` brings them there first", s.Control)
	case to == "":
		if next := nextMinor(s.Control); minorOf(next) <= minorOf(NewestKubernetes) && offers(offered, next) {
			return next, nil
		}
		return s.Control, nil
	}
	return to, s.step(to, offered)
}

// step returns why a cluster cannot be brought to a version by one step.
func (s Standing) step(to string, offered []KubernetesVersion) error {
	next := nextMinor(s.Control)
	switch n := minorOf(to); {
	case n < minorOf(s.Control):
		return fault.New(fault.Invalid, CodeNoWayBack, "the cluster has Kubernetes %s, and EKS takes no cluster back to %s", s.Control, to).
			WithHint("make a second cluster with kubernetes_version: %q, and move what is deployed: `cortex cluster export`", to)
	case n > minorOf(NewestKubernetes):
		return fault.New(fault.Invalid, CodeNotTestedWithIt, "Kubernetes %s is newer than %s, the newest that this release of Cortex was tested with", to, NewestKubernetes).
			WithHint("take a newer release of Cortex")
	case n > minorOf(next):
		return fault.New(fault.Invalid, CodeOneMinor, "from Kubernetes %s to %s is more than one step, and EKS takes one at a time", s.Control, to).
			WithHint("`cortex cluster upgrade --to %s` is the first", next)
	case to == next && !offers(offered, to):
		var names []string
		for _, v := range offered {
			if v.Status == standardSupport {
				names = append(names, v.Version)
			}
		}
		slices.Sort(names)
		return fault.New(fault.Invalid, CodeVersionNotFound, "EKS has no Kubernetes %s in standard support; it has %s", to, strings.Join(names, ", "))
	}
	return nil
}

func offers(all []KubernetesVersion, name string) bool {
	return slices.ContainsFunc(all, func(v KubernetesVersion) bool { return v.Version == name && v.Status == standardSupport })
}

// minorOf is the second number of a version.
func minorOf(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(rest)
	if err != nil {
		return 0 // versionShape lets none of these in
	}
	return n
}

func nextMinor(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major + "." + strconv.Itoa(minorOf(version)+1)
}

// Upgrade is what bringing a cluster to a version comes to.
type Upgrade struct {
	Config  *Config  `json:"-"` // as it is noted from now on
	Facts   *Facts   `json:"-"`
	Plan    *Plan    `json:"-"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Changes []Change `json:"changes"`
	Minutes int64    `json:"minutes"` // that it takes, about
	// ExtraNodes are how many nodes more there are of one group while it is replaced, at
	// most, and ExtraCost what they cost.
	ExtraNodes int64    `json:"extra_nodes"`
	ExtraCost  USD      `json:"extra_usd_an_hour"`
	Warnings   []string `json:"warnings,omitempty"`
}

// In minutes: what people report of EKS.
const (
	controlTakes = 10
	partTakes    = 3
	batchTakes   = 5 // nodes that are replaced at the same time
)

// AtOncePercent of a group's nodes are replaced at the same time: what UpdateConfig says.
const AtOncePercent = 33

// Estimate fills in how long the changes of an upgrade take and what they cost, with as many
// nodes in each managed group as there are.
func (u *Upgrade) Estimate(nodes map[string]int64) {
	changed := map[string]bool{}
	for _, c := range u.Changes {
		changed[c.ID] = c.Action == Update || changed[c.ID]
	}
	if changed[IDStack+"cluster"] {
		u.Minutes += controlTakes
	}
	for _, part := range []string{IDStack + "addons", IDStack + "services", IDChart} {
		if changed[part] {
			u.Minutes += partTakes
		}
	}
	for _, g := range u.Plan.Groups {
		n := nodes[g.Name]
		if !changed[IDStack+NodesPart(g.Name)] {
			continue
		}
		atOnce := max(1, n*AtOncePercent/100)
		u.Minutes += partTakes + batchTakes*((n+atOnce-1)/atOnce)
		if n == 0 {
			continue
		}
		// What EKS adds before it takes old nodes away.
		extra := max(2*int64(len(u.Plan.Zones)), atOnce)
		if g.Mixed { // which lack those that are replaced meanwhile
			extra = 0
		}
		var each USD
		for _, l := range u.Plan.Cost.Lines {
			if l.Group == g.Name && l.Each != nil {
				each += *l.Each
			}
		}
		u.ExtraNodes = max(u.ExtraNodes, extra)
		u.ExtraCost = max(u.ExtraCost, each*USD(extra))
	}
}

// Rolling is a plan whose parts are brought up to date one after the other: nodes of one
// group at a time, those of Cortex itself first, and Cortex last.
func (p *Plan) Rolling() *Plan {
	rolling := *p
	rolling.Steps = slices.Clone(p.Steps)
	before := IDStack + "services"
	var attached []string
	for i := range rolling.Steps {
		s := &rolling.Steps[i]
		switch group, isNodes := strings.CutPrefix(s.ID, IDStack+NodesPart("")); {
		case isNodes && group != SystemGroup:
			s.Needs = append(slices.Clone(s.Needs), before)
			before = s.ID
		case strings.HasPrefix(s.ID, IDAttach):
			attached = append(attached, s.ID)
		case s.ID == IDChart:
			s.Needs = append(slices.Clone(s.Needs), attached...)
		}
	}
	return &rolling
}

// Say is what an upgrade is, for people.
func (u *Upgrade) Say() string {
	if u.From == u.To {
		return fmt.Sprintf("Kubernetes %s stays, with its newest images and add-ons", u.To)
	}
	return fmt.Sprintf("Kubernetes %s to %s", u.From, u.To)
}
