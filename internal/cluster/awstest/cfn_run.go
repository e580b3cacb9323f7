package awstest

import "maps"

// Making, updating, rolling back and deleting stacks.

// create makes everything of a stack.
func (s *stack) create() {
	s.become("CREATE_IN_PROGRESS", "User Initiated")
	s.walkTemplate(func(failed []string) {
		switch {
		case len(failed) == 0:
			s.finishOutputs()
			s.become("CREATE_COMPLETE", "")
		case s.keepFailed:
			s.become("CREATE_FAILED", whole("create", failed))
		default:
			s.become("ROLLBACK_IN_PROGRESS", whole("create", failed)+"Rollback requested by user.")
			s.deleted = s.a.clock.now // so AWS shows it
			s.remove(s.resources, func(failed []string) {
				if len(failed) > 0 {
					s.become("ROLLBACK_FAILED", whole("delete", failed))
					return
				}
				s.become("ROLLBACK_COMPLETE", "")
			})
		}
	})
}

// walkTemplate makes or updates every resource of the template that is not as it should be.
func (s *stack) walkTemplate(end func(failed []string)) {
	needs := map[string][]string{}
	for name, r := range s.template.resources {
		needs[name] = r.needs
	}
	w := &walk{s: s, needs: needs, do: s.bring, end: end}
	w.canceled = func(name string) {
		r := s.resources[name]
		verb := "CREATE"
		reason := "Resource creation cancelled"
		if r.status == "UPDATE_IN_PROGRESS" {
			verb, reason = "UPDATE", "Resource update cancelled"
		}
		r.become(s, verb+failed, reason)
	}
	w.start()
}

// bring makes a resource what the template says it is.
func (s *stack) bring(name string, on func() bool, done func(error)) {
	spec := s.template.resources[name]
	r := s.resources[name]
	props, err := s.properties(s.template, s.params, s.tags, name)
	exists := r != nil && r.physical != "" && r.status != "CREATE_FAILED" && r.status != "DELETE_COMPLETE"
	if !exists || r.kind != spec.kind {
		old := r
		r = &stackResource{logical: name, kind: spec.kind}
		s.resources[name] = r
		r.needs, r.retain = spec.needs, spec.retain
		begin := func() {
			if err != nil {
				r.become(s, "CREATE_IN_PROGRESS", "")
				r.become(s, "CREATE_FAILED", s.handled(err))
				done(err)
				return
			}
			s.make(name, props, on, done)
		}
		if old != nil && old.status == "CREATE_FAILED" && old.physical != "" {
			s.unmake(old, on, func(error) { begin() }) // what had failed makes room
			return
		}
		begin()
		return
	}
	r.needs, r.retain = spec.needs, spec.retain
	if err == nil && mustJSON(r.props) == mustJSON(props) {
		done(nil)
		return
	}
	s.change(r, props, err, on, done)
}

// change updates a resource that there is: in place, or by another in its place.
func (s *stack) change(r *stackResource, props object, err error, on func() bool, done func(error)) {
	fail := func(err error) {
		r.become(s, "UPDATE_FAILED", s.handled(err))
		done(err)
	}
	if err != nil {
		r.become(s, "UPDATE_IN_PROGRESS", "")
		fail(err)
		return
	}
	k := resourceKinds[r.kind]
	old := r.props
	if replaces(r.kind, differing(old, props)) || k.update == nil {
		r.become(s, "UPDATE_IN_PROGRESS", "Requested update requires the creation of a new physical resource; hence creating one.")
		s.replace(r, props, on, done)
		return
	}
	r.props = props
	r.become(s, "UPDATE_IN_PROGRESS", "")
	h := s.handler(r)
	err = h.declared("update")
	if err == nil {
		err = s.a.creationFault(r.logical, r.kind)
	}
	if err == nil {
		err = k.update(h, old)
	}
	if err != nil {
		fail(err)
		return
	}
	s.a.clock.until(k.asks(), k.within(), func() (bool, error) {
		if !on() {
			return true, nil
		}
		return k.isReady(h)
	}, func(err error) {
		switch {
		case !on():
		case err != nil:
			fail(err)
		default:
			r.become(s, "UPDATE_COMPLETE", "")
			done(nil)
		}
	})
}

// replace makes another resource; the old one goes when the update is over.
func (s *stack) replace(r *stackResource, props object, on func() bool, done func(error)) {
	old := *r
	k := resourceKinds[r.kind]
	h := s.handler(r)
	h.props = props
	physical, attrs, err := k.create(h)
	if err != nil {
		r.become(s, "UPDATE_FAILED", s.handled(err))
		done(err)
		return
	}
	r.physical, r.attrs, r.props = physical, attrs, props
	s.resources[r.logical+" "+old.physical] = &old // until the clean-up
	s.a.clock.after(k.takes, func() {
		s.a.clock.until(k.asks(), k.within(), func() (bool, error) { return k.isReady(s.handler(r)) }, func(err error) {
			if !on() {
				return
			}
			if err != nil {
				r.become(s, "UPDATE_FAILED", s.handled(err))
				done(err)
				return
			}
			r.become(s, "UPDATE_COMPLETE", "")
			done(nil)
		})
	})
}

// remove deletes resources, each after those that need it.
func (s *stack) remove(of map[string]*stackResource, end func(failed []string)) {
	needs := map[string][]string{}
	for name, r := range of {
		if r.status != "DELETE_COMPLETE" && r.status != "DELETE_SKIPPED" {
			needs[name] = r.needs
		}
	}
	w := &walk{s: s, needs: reverse(needs), last: true, end: end}
	w.do = func(name string, on func() bool, done func(error)) { s.unmake(of[name], on, done) }
	w.start()
}

// delete deletes a stack.
func (s *stack) delete(retain []string) {
	s.stop()
	s.become("DELETE_IN_PROGRESS", "User Initiated")
	for _, name := range retain {
		s.resources[name].retain = true
	}
	s.remove(s.resources, func(failed []string) {
		if len(failed) > 0 {
			s.become("DELETE_FAILED", whole("delete", failed))
			return
		}
		s.deleted = s.a.clock.now
		s.become("DELETE_COMPLETE", "")
	})
}

// stop ends what is being done with a stack.
func (s *stack) stop() {
	if s.doing != nil {
		s.doing.ended = true
	}
}

// finishOutputs works out what a stack puts out.
func (s *stack) finishOutputs() {
	s.outputs = map[string]string{}
	scope := s.scope(s.template, s.params)
	for name, o := range s.template.outputs {
		s.outputs[name] = textOf(scope.resolve(o["Value"]))
	}
}

// update brings a stack to another template.
func (s *stack) update(t *template, body string, params, tags map[string]string) {
	s.before = &stackState{template: s.template, body: s.body, params: s.params, tags: s.tags, outputs: s.outputs, resources: map[string]stackResource{}}
	for name, r := range s.resources {
		s.before.resources[name] = *r
	}
	neverWhole := s.status == "CREATE_FAILED"
	s.template, s.body, s.params, s.tags, s.updated = t, body, params, tags, s.a.clock.now
	s.become("UPDATE_IN_PROGRESS", "User Initiated")
	s.walkTemplate(func(failed []string) {
		switch {
		case len(failed) == 0:
			s.finishOutputs()
			s.become("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
			s.cleanUp(func() { s.become("UPDATE_COMPLETE", "") })
		case s.keepFailed || neverWhole:
			s.become("UPDATE_FAILED", whole("update", failed))
		default:
			s.become("UPDATE_ROLLBACK_IN_PROGRESS", whole("update", failed))
			s.rollBack()
		}
	})
}

// rollBack brings a stack back to what it was before an update.
func (s *stack) rollBack() {
	b := s.before
	s.template, s.body, s.params, s.tags, s.outputs = b.template, b.body, b.params, b.tags, b.outputs
	for name, was := range b.resources {
		now := s.resources[name]
		if now == nil || now.physical == was.physical {
			continue
		}
		// The old one is still there: the new one goes with the clean-up.
		if now.physical != "" {
			fresh := *now
			s.resources[name+" "+now.physical] = &fresh
		}
		delete(s.resources, name+" "+was.physical)
		restored := was
		s.resources[name] = &restored
	}
	s.walkTemplate(func(failed []string) {
		if len(failed) > 0 {
			s.become("UPDATE_ROLLBACK_FAILED", whole("update", failed))
			return
		}
		s.become("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "")
		s.cleanUp(func() { s.become("UPDATE_ROLLBACK_COMPLETE", "") })
	})
}

// cleanUp deletes what the template does not have. What cannot be deleted is left, as
// CloudFormation leaves it.
func (s *stack) cleanUp(then func()) {
	extra := map[string]*stackResource{}
	for name, r := range s.resources {
		if _, ok := s.template.resources[name]; !ok {
			extra[name] = r
		}
	}
	s.remove(extra, func([]string) {
		maps.DeleteFunc(s.resources, func(name string, _ *stackResource) bool { _, gone := extra[name]; return gone })
		then()
	})
}
