package awstest

import (
	"slices"
	"strings"
	"time"
)

// pace is what CloudFormation needs from one resource to the next.
const pace = 2 * time.Second

// walk does something for each of several resources, each after those that it needs, as
// many at once as there can be.
type walk struct {
	s     *stack
	needs map[string][]string
	// do calls done when it is over. on is false once the walk has ended without it.
	do   func(name string, on func() bool, done func(error))
	end  func(failed []string)
	last bool // goes on with what does not need what has failed, as deletions do
	// canceled is told of what was under way when something failed.
	canceled func(name string)

	running, over map[string]bool
	failed        []string
	ended         bool
}

func (w *walk) start() {
	w.s.doing = w
	w.running, w.over = map[string]bool{}, map[string]bool{}
	w.s.a.clock.after(pace, w.step)
}

// step starts what has become free.
func (w *walk) step() {
	if w.ended {
		return
	}
	started := false // what is over at once asks for another step
	if len(w.failed) == 0 || w.last {
		for _, name := range sorted(w.needs) {
			if !w.running[name] && !w.over[name] && !w.blocked(name) {
				w.running[name], started = true, true
				w.do(name, func() bool { return !w.ended }, func(err error) { w.finished(name, err) })
			}
			if w.ended {
				return
			}
		}
	}
	if len(w.running) == 0 && !started {
		w.finish()
	}
}

func (w *walk) blocked(name string) bool {
	return slices.ContainsFunc(w.needs[name], func(n string) bool {
		_, known := w.needs[n]
		return known && (!w.over[n] || slices.Contains(w.failed, n))
	})
}

func (w *walk) finished(name string, err error) {
	if w.ended || !w.running[name] {
		return
	}
	delete(w.running, name)
	w.over[name] = true
	if err != nil {
		w.failed = append(w.failed, name)
		if !w.last {
			for _, other := range sorted(w.running) {
				w.canceled(other)
				w.failed = append(w.failed, other)
			}
			w.finish()
			return
		}
	}
	w.s.a.clock.after(pace, w.step)
}

func (w *walk) finish() {
	w.ended = true
	slices.Sort(w.failed)
	w.end(w.failed)
}

// whole is how CloudFormation names what has failed.
func whole(verb string, names []string) string {
	return "The following resource(s) failed to " + verb + ": [" + strings.Join(names, ", ") + "]. "
}

// reverse turns needs around, for deletions.
func reverse(needs map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name := range needs {
		out[name] = nil
	}
	for _, name := range sorted(needs) {
		for _, n := range needs[name] {
			if _, ok := out[n]; ok {
				out[n] = append(out[n], name)
			}
		}
	}
	return out
}

// handled is what CloudFormation says of an error of a handler.
func (s *stack) handled(err error) string {
	r := asRefusal(err)
	if strings.HasPrefix(r.message, "Properties validation failed") || strings.HasPrefix(r.message, "Encountered unsupported") {
		return r.message
	}
	return `Resource handler returned message: "` + r.message + ` (Service: , Status Code: ` + textOf(r.status) + `, Request ID: ` + s.a.uuid() +
		`)" (RequestToken: ` + s.a.uuid() + `, HandlerErrorCode: ` + handlerCode(r.code) + `)`
}

// handlerCodes sort the codes of services into those of handlers.
var handlerCodes = []struct{ part, code string }{
	{"AccessDenied", "AccessDenied"}, {"Unauthorized", "AccessDenied"}, {"AlreadyExists", "AlreadyExists"}, {"InUse", "AlreadyExists"}, {"Duplicate", "AlreadyExists"},
	{"NotFound", "NotFound"}, {"NoSuch", "NotFound"}, {"LimitExceeded", "ServiceLimitExceeded"}, {"Throttling", "Throttling"}, {"RequestLimit", "Throttling"},
	{"NotStabilized", "NotStabilized"}, {"DependencyViolation", "InvalidRequest"}, {"Invalid", "InvalidRequest"}, {"Malformed", "InvalidRequest"},
	{"Internal", "ServiceInternalError"}, {"NodeCreationFailure", "NotStabilized"},
}

func handlerCode(code string) string {
	for _, each := range handlerCodes {
		if strings.Contains(code, each.part) {
			return each.code
		}
	}
	return "GeneralServiceException"
}

// make makes a resource, with the events that there are of it.
func (s *stack) make(name string, props object, on func() bool, done func(error)) {
	r := s.resources[name]
	fail := func(err error) {
		r.become(s, "CREATE_FAILED", s.handled(err))
		done(err)
	}
	r.props = props
	r.become(s, "CREATE_IN_PROGRESS", "")
	if err := s.a.creationFault(name, r.kind); err != nil {
		s.a.clock.after(pace, func() {
			if on() {
				fail(err)
			}
		})
		return
	}
	k := resourceKinds[r.kind]
	h := s.handler(r)
	if err := h.declared("create"); err != nil {
		fail(err)
		return
	}
	physical, attrs, err := k.create(h)
	r.physical, r.attrs = physical, attrs
	if err != nil {
		fail(err)
		return
	}
	r.become(s, "CREATE_IN_PROGRESS", "Resource creation Initiated")
	s.a.clock.after(k.takes, func() {
		s.a.clock.until(k.asks(), k.within(), func() (bool, error) {
			if !on() {
				return true, nil
			}
			return k.isReady(s.handler(r))
		}, func(err error) {
			switch {
			case !on():
			case err != nil:
				fail(err)
			default:
				r.become(s, "CREATE_COMPLETE", "")
				done(nil)
			}
		})
	})
}

// retries is how long a deletion is tried again while something depends on what is
// deleted.
const retries = 10 * time.Minute

// unmake deletes what a resource stands for.
func (s *stack) unmake(r *stackResource, on func() bool, done func(error)) {
	if r.physical == "" {
		r.become(s, "DELETE_COMPLETE", "")
		done(nil)
		return
	}
	if r.retain {
		r.become(s, "DELETE_SKIPPED", "")
		done(nil)
		return
	}
	k := resourceKinds[r.kind]
	r.become(s, "DELETE_IN_PROGRESS", "")
	h := s.handler(r)
	err := h.declared("delete")
	asked := false
	if err == nil {
		err = s.a.deletionFault(r.logical, r.kind)
	}
	if err != nil {
		r.become(s, "DELETE_FAILED", s.handled(err))
		done(err)
		return
	}
	began := s.a.clock.now
	s.a.clock.until(k.asks(), retries+k.within(), func() (bool, error) {
		if !on() {
			return true, nil
		}
		if !asked {
			err := k.remove(h)
			switch {
			case err == nil || handlerCode(codeOf(err)) == "NotFound":
				asked = true
			case codeOf(err) == "DependencyViolation" && s.a.clock.now.Sub(began) < retries:
				return false, nil
			default:
				return false, err
			}
		}
		return k.isGone(h)
	}, func(err error) {
		switch {
		case !on():
		case err != nil:
			r.become(s, "DELETE_FAILED", s.handled(err))
			done(err)
		default:
			r.become(s, "DELETE_COMPLETE", "")
			done(nil)
		}
	})
}
