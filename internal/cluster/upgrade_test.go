package cluster_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// To which version a cluster goes, whatever state it is in.
func TestTarget(t *testing.T) {
	t.Parallel()
	offered := []cluster.KubernetesVersion{
		{Version: "1.34", Status: "EXTENDED_SUPPORT"}, {Version: "1.35", Status: "STANDARD_SUPPORT"}, {Version: "1.36", Status: "STANDARD_SUPPORT"}, {Version: "1.37", Status: "STANDARD_SUPPORT"},
	}
	at := func(control, asked, from string, groups ...string) cluster.Standing {
		s := cluster.Standing{Control: control, Asked: asked, From: from, Groups: map[string]string{}}
		for i, v := range groups {
			s.Groups[fmt.Sprintf("g%d", i)] = v
		}
		return s
	}
	for name, tt := range map[string]struct {
		s          cluster.Standing
		to         string
		want, code string
		hint       string
	}{
		"the next":                              {at("1.35", "1.35", "", "1.35"), "", "1.36", "", ""},
		"the next, by name":                     {at("1.35", "1.35", ""), "1.36", "1.36", "", ""},
		"of support that has ended":             {at("1.34", "1.34", ""), "", "1.35", "", ""},
		"the newest that we know":               {at("1.36", "1.36", "", "1.36"), "", "1.36", "", ""},
		"its own":                               {at("1.35", "1.35", ""), "1.35", "1.35", "", ""},
		"no version":                            {at("1.35", "1.35", ""), "newest", "", cluster.CodeVersionNotFound, ""},
		"two steps":                             {at("1.34", "1.34", ""), "1.36", "", cluster.CodeOneMinor, "--to 1.35` is the first"},
		"back":                                  {at("1.36", "1.36", ""), "1.35", "", cluster.CodeNoWayBack, "cortex cluster export"},
		"newer than we know":                    {at("1.36", "1.36", ""), "1.37", "", cluster.CodeNotTestedWithIt, "newer release of Cortex"},
		"not offered":                           {at("1.33", "1.33", ""), "1.34", "", cluster.CodeVersionNotFound, ""},
		"going on, control plane before":        {at("1.35", "1.36", "1.35", "1.35"), "", "1.36", "", ""},
		"going on, control plane after":         {at("1.36", "1.36", "1.35", "1.35"), "", "1.36", "", ""},
		"going on, all but Cortex":              {at("1.36", "1.36", "1.35", "1.36"), "1.36", "1.36", "", ""},
		"going on with images":                  {at("1.35", "1.35", "1.35", "1.35"), "", "1.35", "", ""},
		"another while one is going on":         {at("1.35", "1.35", "1.34", "1.34"), "1.36", "", cluster.CodeNotFinished, "--to 1.35` goes on"},
		"AWS has moved the control plane":       {at("1.35", "1.34", "", "1.34"), "", "1.35", "", ""},
		"AWS has, and more is wanted":           {at("1.35", "1.34", "", "1.34"), "1.36", "", cluster.CodeNotFinished, "--to 1.35` brings them there first"},
		"AWS has, while one was going on":       {at("1.36", "1.35", "1.34", "1.34"), "", "1.36", "", ""},
		"a group behind, all else as asked":     {at("1.35", "1.35", "", "1.35", "1.34"), "", "1.35", "", ""},
		"nodes are there, add-ons not":          {at("1.35", "1.34", "", "1.35"), "", "1.35", "", ""},
		"a group behind, by the name of next":   {at("1.35", "1.35", "", "1.35", "1.34"), "1.36", "", cluster.CodeNotFinished, ""},
		"a group behind, by the name of theirs": {at("1.35", "1.35", "", "1.34"), "1.35", "1.35", "", ""},
	} {
		got, err := tt.s.Target(tt.to, offered)
		if got != tt.want && tt.code == "" || fault.Code(err) != tt.code || tt.hint != "" && !strings.Contains(fault.From(err).Hint, tt.hint) {
			t.Errorf("%s: Target(%q) = %q, %v; want %q, %q with %q", name, tt.to, got, err, tt.want, tt.code, tt.hint)
		}
	}
}

// Nodes of one group are replaced at a time, those of Cortex first, and Cortex comes last.
func TestRolling(t *testing.T) {
	t.Parallel()
	var c *cluster.Config
	for _, row := range matrix(t) {
		if row.Name == "spot-base" {
			c = row.config(t)
		}
	}
	plan := build(t, c, facts(t, c.Region))
	text := func() string {
		data, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := text()
	rolling := plan.Rolling()
	if text() != before {
		t.Error("Rolling has changed the plan that it was given")
	}
	needs := map[string][]string{}
	var order []string
	for _, s := range rolling.Steps {
		needs[s.ID] = s.Needs
		if strings.HasPrefix(s.ID, cluster.IDStack+"nodes-cx-w") {
			order = append(order, s.ID)
		}
	}
	if len(order) < 2 {
		t.Fatalf("the plan has the groups %v; want two at least", order)
	}
	last := cluster.IDStack + "services"
	for _, id := range order {
		if !slices.Contains(needs[id], last) {
			t.Errorf("%s needs %v, want %s before it", id, needs[id], last)
		}
		last = id
	}
	for id := range needs {
		if strings.HasPrefix(id, cluster.IDAttach) && !slices.Contains(needs[cluster.IDChart], id) {
			t.Errorf("the chart needs %v, want %s before it", needs[cluster.IDChart], id)
		}
	}
}

// What an upgrade takes grows with the nodes that there are, and not with what stays.
func TestEstimate(t *testing.T) {
	t.Parallel()
	var c *cluster.Config
	for _, row := range matrix(t) {
		if row.Name == "public" {
			c = row.config(t)
		}
	}
	plan := build(t, c, facts(t, c.Region))
	all := []cluster.Change{}
	for _, s := range plan.Steps {
		all = append(all, cluster.Change{ID: s.ID, Action: cluster.Update})
	}
	estimate := func(changes []cluster.Change, n int64) *cluster.Upgrade {
		u := &cluster.Upgrade{Plan: plan, Changes: changes}
		nodes := map[string]int64{}
		for _, g := range plan.Groups {
			nodes[g.Name] = n
		}
		u.Estimate(nodes)
		return u
	}
	none, few, many := estimate(nil, 3), estimate(all, 3), estimate(all, 100)
	if none.Minutes != 0 || none.ExtraNodes != 0 || none.ExtraCost != 0 {
		t.Errorf("of nothing: %+v", none)
	}
	if few.Minutes < 30 || few.ExtraNodes != 2*int64(len(plan.Zones)) || few.ExtraCost == 0 {
		t.Errorf("of three nodes in each group: %d minutes, %d nodes more for %s", few.Minutes, few.ExtraNodes, few.ExtraCost)
	}
	if many.Minutes <= few.Minutes || many.ExtraNodes != 33 || many.ExtraCost <= few.ExtraCost {
		t.Errorf("of a hundred: %d minutes, %d nodes more for %s", many.Minutes, many.ExtraNodes, many.ExtraCost)
	}
}
