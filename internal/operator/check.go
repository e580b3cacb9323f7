package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// Stable codes of what a file may do to what is deployed (REFERENCE 11).
const (
	codeKindChange     = "resources.cannot_change_kind_of_deployed_api"
	codeEndpointTaken  = "spec.duplicate_endpoint"
	codeHostTaken      = "spec.duplicate_host"
	codeHostRefused    = "spec.host_refused_here"
	codeTargetMissing  = "resources.apis_not_deployed"
	codeKindNotRunning = "resources.kind_not_supported_here"
	codeImageNeeded    = "spec.image_required_here"
	codeNoIdentities   = "spec.no_identities_here"
	codeAuthNeeded     = "spec.auth_required_here"
	codeUsedBySplitter = "resources.realtime_api_used_by_traffic_splitter"
)

// kinds are those that can run with what is wired: an engine keeps the replicas of a
// RealtimeAPI, a TrafficSplitter only divides requests among them, an AsyncAPI needs who
// keeps its items, and the others need who runs their jobs.
func (o *Operator) kinds() []workload.Kind {
	return slices.DeleteFunc(workload.Kinds(), func(k workload.Kind) bool {
		return k == workload.Async && o.items == nil || hasJobs(k) && o.runJobs == nil
	})
}

// wording says where the targets of a splitter are looked for, in the words of who
// wrote the splitter.
type wording struct{ missing, allowed, hint string }

var (
	inFile = wording{"is neither deployed nor in this file", "a RealtimeAPI that is deployed or in this file", "deploy it first, or add it to this file"}
	// A version that comes back has no file any more.
	inHistory = wording{"is not deployed", "a RealtimeAPI that is deployed", "deploy it first"}
	// There is no file beside a resource, and it is tried again when others are deployed.
	inResource = wording{"is not deployed", "a RealtimeAPI that is deployed", "this is tried again as soon as it is"}
)

// check returns the fault that carries everything that keeps a file from being
// applied to what is deployed, with positions; nil when nothing does. Folder is where the
// file is.
func (o *Operator) check(ctx context.Context, file *manifest.File, folder string, deployed []store.Workload, words wording) error {
	var problems []fault.Problem
	if words != inResource { // the pods of a resource wait for theirs, as all pods do
		missing, err := o.missingSecrets(ctx, file)
		if err != nil {
			return err
		}
		problems = missing
	}
	kinds, unsupported := o.kinds(), 0
	for _, e := range file.Entries {
		runs := slices.Contains(kinds, e.Spec.Kind)
		if !runs {
			unsupported++
			p := e.Problem("kind", codeKindNotRunning, "%s cannot run in this environment yet", plural(e.Spec.Kind))
			p.Found, p.Allowed = string(e.Spec.Kind), listed(kinds)
			if e.Spec.Kind == workload.Async && !o.oneMachine {
				p.Hint = "something has to keep its items: set items.servers of the chart, or items.url"
			}
			problems = append(problems, p)
		}
		if n := e.Spec.Networking; o.requireAuth && (n == nil || n.Auth == nil) {
			p := e.Problem("networking", codeAuthNeeded, "anybody could call this API, which this server refuses")
			p.Hint = "say who may: networking.auth, such as {accept: [keys]}"
			problems = append(problems, p)
		}
		if n := e.Spec.Networking; !o.identities && n != nil && n.Auth != nil && slices.Contains(n.Auth.Accept, workload.AcceptIAM) {
			p := e.Problem("networking.auth.accept", codeNoIdentities, "nobody proves an AWS identity here")
			p.Found, p.Hint = workload.AcceptIAM, "remove it, or deploy to a server (cortex server)"
			problems = append(problems, p)
		}
		if n := e.Spec.Networking; n != nil && n.Host != "" && !MayHost(o.hosts, n.Host) {
			p := e.Problem("networking.host", codeHostRefused, "no API of this server may have this name")
			p.Found, p.Allowed, p.Hint = n.Host, strings.Join(o.hosts, ", "), "whoever runs the server says which names APIs may have: --api-hosts, or apis.hosts of the chart"
			problems = append(problems, p)
		}
		if o.images {
			problems = append(problems, withoutImages(e)...)
		}
		if o.oneMachine {
			problems = append(problems, notHere(e, e.Spec.OneMachine())...)
			problems = append(problems, o.notHostFolders(e, folder)...)
		} else {
			problems = append(problems, notHere(e, e.Spec.OnKubernetes())...)
		}
		problems = append(problems, against(e, file, deployed, words)...)
		if runs {
			problems = append(problems, tooLarge(e, deployed, o.room)...)
		}
	}
	err := fault.OfProblems(problems)
	if err == nil {
		return nil
	}
	if unsupported == len(problems) { // nothing else is wrong with the file
		f := *fault.From(err)
		f.Kind = fault.Unsupported
		return f.WithHint("nothing was deployed; take %s out of the file: this environment runs only %s", these(unsupported), listed(kinds))
	}
	return err
}

// MayHost reports whether allowed (nil: everything is) has a host name, or *.example.com that
// it is below.
func MayHost(allowed []string, host string) bool {
	return allowed == nil || slices.ContainsFunc(allowed, func(a string) bool {
		below, all := strings.CutPrefix(a, "*")
		return a == host || all && strings.HasSuffix(host, below)
	})
}

// notHere returns what an API asks for that this place does not have.
func notHere(e manifest.Entry, lacks []workload.Violation) (problems []fault.Problem) {
	for _, v := range lacks {
		p := e.Problem(v.Path, v.Code, "%s", v.Message)
		p.Hint = v.Hint
		problems = append(problems, p)
	}
	return problems
}

// withoutImages returns the containers of an API that have no image.
func withoutImages(e manifest.Entry) (problems []fault.Problem) {
	if e.Spec.Pod == nil {
		return nil
	}
	for i, c := range e.Spec.Pod.Containers {
		if c.Image == "" {
			p := e.Problem(fmt.Sprintf("pod.containers[%d]", i), codeImageNeeded, "container %s has no image, and this server runs no processes", c.Name)
			p.Hint = "name an image"
			problems = append(problems, p)
		}
	}
	return problems
}

func listed(kinds []workload.Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func plural(k workload.Kind) string { return string(k) + "s" }

func these(n int) string {
	if n == 1 {
		return "this API"
	}
	return "these APIs"
}

// against returns what keeps one API of the file from being applied.
func against(e manifest.Entry, file *manifest.File, deployed []store.Workload, words wording) []fault.Problem {
	var problems []fault.Problem
	spec := &e.Spec
	for _, w := range deployed {
		was := w.Revision
		if was.Name == spec.Name {
			if was.Kind != spec.Kind {
				p := e.Problem("kind", codeKindChange, "%s is deployed as a %s, and the kind of a deployed API cannot change", spec.Name, was.Kind)
				p.Found, p.Allowed = string(spec.Kind), string(was.Kind)
				p.Hint = fmt.Sprintf("delete it first (cortex delete %s), or give this one another name", spec.Name)
				problems = append(problems, p)
			}
			continue
		}
		if sameEndpoint(&was.Spec, spec) {
			p := e.Problem("networking.endpoint", codeEndpointTaken, "the endpoint %s is already used by %s", spec.Networking.Endpoint, label(&was.Spec))
			p.Found = spec.Networking.Endpoint
			p.Hint = fmt.Sprintf("choose another endpoint, or delete %s first", was.Name)
			problems = append(problems, p)
		}
		if a, b := was.Networking, spec.Networking; a != nil && b != nil && b.Host != "" && a.Host == b.Host {
			p := e.Problem("networking.host", codeHostTaken, "the host %s is already that of %s", b.Host, label(&was.Spec))
			p.Found = b.Host
			p.Hint = fmt.Sprintf("choose another name, or delete %s first", was.Name)
			problems = append(problems, p)
		}
	}
	for i, t := range spec.APIs {
		path := fmt.Sprintf("apis[%d].name", i)
		kind, found := kindOf(t.Name, file, deployed)
		switch {
		case !found:
			p := e.Problem(path, codeTargetMissing, "%s %s", t.Name, words.missing)
			p.Found, p.Allowed, p.Hint = t.Name, words.allowed, nearest(t.Name, file, deployed, words.hint)
			problems = append(problems, p)
		case kind != workload.Realtime:
			p := e.Problem(path, codeTargetMissing, "%s is a %s, and only RealtimeAPIs can be targets", t.Name, kind)
			p.Found, p.Allowed = t.Name, words.allowed
			problems = append(problems, p)
		}
	}
	return problems
}

// sameEndpoint compares as the gateway routes: /a and /a/ are one.
func sameEndpoint(a, b *workload.Spec) bool {
	return a.Networking != nil && b.Networking != nil &&
		strings.TrimRight(a.Networking.Endpoint, "/") == strings.TrimRight(b.Networking.Endpoint, "/")
}

func kindOf(name string, file *manifest.File, deployed []store.Workload) (workload.Kind, bool) {
	for _, e := range file.Entries {
		if e.Spec.Name == name {
			return e.Spec.Kind, true
		}
	}
	for _, w := range deployed {
		if w.Name() == name {
			return w.Revision.Kind, true
		}
	}
	return "", false
}

// nearest suggests a target that differs in little from what was written, and hint when
// there is none.
func nearest(name string, file *manifest.File, deployed []store.Workload, hint string) string {
	var targets []string
	for i := range file.Entries {
		if s := &file.Entries[i].Spec; s.Kind == workload.Realtime {
			targets = append(targets, s.Name)
		}
	}
	for _, w := range deployed {
		if s := &w.Revision.Spec; s.Kind == workload.Realtime {
			targets = append(targets, s.Name)
		}
	}
	return cmp.Or(suggest.Hint(name, targets), hint)
}
