package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

var _ engine.Runner = (*Engine)(nil)

// StartRun implements engine.Runner.
func (e *Engine) StartRun(ctx context.Context, run engine.Run) (engine.Running, error) {
	if err := e.mayWrite(); err != nil {
		return nil, err
	}
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	if err := runnable(engine.Deployment{Revision: run.Revision}); err != nil {
		return nil, err
	}
	cfg := e.cfg.Pods
	cfg.PullSecrets = e.pullSecrets(ctx)
	pod, files := runPod(cfg, run)
	r := &podRun{e: e, name: run.RunName, pod: pod.Name, wait: run.Revision.Pod.Grace(cfg.Grace), changed: make(chan struct{}), done: make(chan struct{})}
	e.mu.Lock()
	e.following[pod.Name] = r // before it is there, so that nothing of it is missed
	e.mu.Unlock()
	doing := "starting a worker of " + run.Revision.Name
	is, err := e.makeRun(ctx, pod, files)
	if err != nil {
		e.unfollow(r)
		return nil, failed(ctx, doing, err)
	}
	r.see(is)
	return r, nil
}

// makeRun makes the pod of a run, or finds it.
func (e *Engine) makeRun(ctx context.Context, pod *corev1.Pod, files *corev1.ConfigMap) (*corev1.Pod, error) {
	options := metav1.CreateOptions{FieldManager: fieldManager}
	if len(files.BinaryData) > 0 {
		if _, err := e.client.CoreV1().ConfigMaps(files.Namespace).Create(ctx, files, options); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
	}
	pods := e.client.CoreV1().Pods(pod.Namespace)
	is, err := pods.Create(ctx, pod, options)
	if !apierrors.IsAlreadyExists(err) {
		return is, err
	}
	if is, err = pods.Get(ctx, pod.Name, metav1.GetOptions{}); err != nil {
		return nil, err
	}
	want, _ := runOfPod(pod)
	if got, ok := runOfPod(is); !ok || got != want {
		return nil, fmt.Errorf("there is a pod %s that Cortex did not make", pod.Name)
	}
	return is, nil
}

func (e *Engine) unfollow(r *podRun) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.following[r.pod] == r {
		delete(e.following, r.pod)
	}
}

// Runs implements engine.Runner.
func (e *Engine) Runs(ctx context.Context) (all []engine.RunName, _ error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	// What was made a moment ago may not be seen yet, and what is asked for is what is there.
	list, err := e.client.CoreV1().Pods(e.cfg.Pods.Namespace).List(ctx, metav1.ListOptions{LabelSelector: jobPods})
	if err != nil {
		return nil, failed(ctx, "looking for the workers of jobs", err)
	}
	for i := range list.Items {
		if r, ok := runOfPod(&list.Items[i]); ok && list.Items[i].DeletionTimestamp == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// jobPods selects the pods of runs.
var jobPods = labels.Set{labelAPI: "true"}.String() + "," + labelJob + "," + labelRun

// EndRun implements engine.Runner.
func (e *Engine) EndRun(ctx context.Context, r engine.RunName) error {
	return e.deleteRun(ctx, runPodName(r), endWithin)
}

func (e *Engine) deleteRun(ctx context.Context, pod string, grace time.Duration) error {
	seconds := wholeSeconds(grace)
	err := e.client.CoreV1().Pods(e.cfg.Pods.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &seconds})
	if err2 := e.client.CoreV1().ConfigMaps(e.cfg.Pods.Namespace).Delete(ctx, pod, metav1.DeleteOptions{}); err == nil || apierrors.IsNotFound(err) {
		err = err2
	}
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return failed(ctx, "ending a worker", err)
}

// followRuns has changes to the pods of runs reach who follows them.
func (e *Engine) followRuns(i toolscache.SharedIndexInformer) error {
	changed := func(gone bool) func(o any) {
		return func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			p, ok := o.(*corev1.Pod)
			if !ok {
				return
			}
			e.mu.Lock()
			r := e.following[p.Name]
			if gone {
				delete(e.forgotten, p.UID)
			}
			e.mu.Unlock()
			if name, ok := runOfPod(p); ok {
				e.changed(name.Name)
			}
			if r == nil {
				return
			}
			r.see(p)
			if gone {
				r.gone(p)
			}
		}
	}
	_, err := i.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: changed(false), UpdateFunc: func(_, is any) { changed(false)(is) }, DeleteFunc: changed(true),
	})
	return err
}

// podRun is a run that this process follows.
type podRun struct {
	e    *Engine
	name engine.RunName
	pod  string
	wait time.Duration // grace of its containers

	mu      sync.Mutex
	is      *corev1.Pod   // as it was seen last
	changed chan struct{} // closed and replaced when it is seen anew
	stopped bool          // somebody called Stop
	ending  bool          // its pod is being deleted
	left    bool
	stuck   *time.Timer // looks at what does not start
	over    bool
	end     engine.RunEnd
	out     *output // nil: nothing is gathered
	done    chan struct{}

	letting sync.Once
}

// ID implements engine.Running.
func (r *podRun) ID() string { return r.pod }

// see takes a new picture of the pod.
func (r *podRun) see(p *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.is != nil && (p.UID != r.is.UID || isAsNew(r.is.ResourceVersion, p.ResourceVersion) && r.is.ResourceVersion != p.ResourceVersion) {
		return // it is older, or another one
	}
	r.is = p
	close(r.changed)
	r.changed = make(chan struct{})
	first := firstEnd(p)
	switch {
	case first == nil && isOver(p): // evicted, say, before any container ended
		r.finish(engine.RunEnd{Code: 137, Reason: givenUp(p)})
	case first != nil && allEnded(p):
		r.finish(r.endOf(p, first))
	case first != nil && p.DeletionTimestamp == nil: // one ended, and the others are to
		r.endOnce("container " + first.Name + " of it has ended")
	case p.DeletionTimestamp != nil && !r.over: // by whomever
		go r.letGo()
	default:
		r.watchStart(p)
	}
}

// gone is see of a pod that is not there any more.
func (r *podRun) gone(p *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.is == nil || r.is.UID != p.UID {
		return
	}
	if first := firstEnd(p); first != nil {
		r.finish(r.endOf(p, first))
		return
	}
	r.finish(engine.RunEnd{Code: 137, Reason: &workload.Reason{
		Code: "pod_deleted", Message: "its pod " + p.Name + " was deleted before it ended", Fix: "the events of the namespace may say by whom: a drained node, or kubectl delete",
	}})
}

// finish notes the end; the caller holds r.mu.
func (r *podRun) finish(end engine.RunEnd) {
	if r.over {
		return
	}
	if r.stuck != nil {
		r.stuck.Stop()
	}
	end.Stopped, end.Left = r.stopped || r.left, r.left
	r.over, r.end = true, end
	close(r.done)
	go r.e.unfollow(r) // which needs the engine's lock
}

// firstEnd is the container of the user that ended first; nil: none has.
func firstEnd(p *corev1.Pod) (first *corev1.ContainerStatus) {
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		if t := s.State.Terminated; t != nil && (first == nil || t.FinishedAt.Before(&first.State.Terminated.FinishedAt)) {
			first = s
		}
	}
	return first
}

func allEnded(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) > 0 && !slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Terminated == nil })
}

// endOf is what the end of a container makes of the run.
func (r *podRun) endOf(p *corev1.Pod, s *corev1.ContainerStatus) engine.RunEnd {
	t := s.State.Terminated
	if slices.Contains(startReasons, t.Reason) {
		return engine.RunEnd{Unmade: true, Reason: startReason(s.Name, t.Reason, t.Message)}
	}
	end := engine.RunEnd{Code: int(t.ExitCode), OOM: outOfMemory(t)}
	if end.Code != 0 {
		o := r.observe(p)
		if said := strings.TrimSpace(t.Message); said != "" {
			o.logs = map[run][]string{{p.UID, s.Name, t.ContainerID}: strings.Split(said, "\n")}
		}
		end.Reason = exitReason(p, s, 1, o)
	}
	return end
}

// watchStart ends a run that cannot start, when that has stood for a while. The caller
// holds r.mu.
func (r *podRun) watchStart(p *corev1.Pod) {
	v := judge(p, r.observe(p))
	if p.DeletionTimestamp != nil || v.state != workload.ErrImagePull && v.state != workload.Failed || v.reason == nil {
		if r.stuck != nil {
			r.stuck.Stop()
			r.stuck = nil
		}
		return
	}
	if r.stuck != nil || r.over {
		return
	}
	reason := *v.reason
	r.stuck = time.AfterFunc(unmadeAfter, func() {
		r.mu.Lock()
		fresh := r.stuck != nil && !r.over
		if fresh {
			r.finish(engine.RunEnd{Unmade: true, Reason: &reason})
		}
		r.mu.Unlock()
		if fresh {
			r.delete("it cannot start")
		}
	})
}

func (r *podRun) observe(p *corev1.Pod) observation {
	return observation{now: r.e.cfg.Now(), deadline: r.e.cfg.ProgressDeadline, warnings: r.e.warningsOf([]*corev1.Pod{p})}
}

// AwaitReady implements engine.Running.
func (r *podRun) AwaitReady(ctx context.Context) bool {
	for {
		r.mu.Lock()
		p, changed := r.is, r.changed
		r.mu.Unlock()
		if ready := condition(p, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
			return true
		}
		select {
		case <-changed:
		case <-r.done:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Reason implements engine.Running.
func (r *podRun) Reason() *workload.Reason {
	r.mu.Lock()
	p := r.is
	r.mu.Unlock()
	return judge(p, r.observe(p)).reason
}

// Stop implements engine.Running.
func (r *podRun) Stop(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.endOnce(why)
}

// endOnce has the pod end, unless it has ended or is to already. The caller holds r.mu.
func (r *podRun) endOnce(why string) {
	if !r.ending && !r.over {
		r.ending = true
		go r.delete(why)
	}
}

// delete has the pod end, and asks until it does.
func (r *podRun) delete(why string) {
	r.e.cfg.Log.Debug("ending a worker", "pod", r.pod, "why", why)
	r.letGo()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		err := r.e.deleteRun(ctx, r.pod, r.wait)
		cancel()
		if err == nil {
			return
		}
		r.e.cfg.Log.Warn("a worker cannot be ended now", "pod", r.pod, "error", err)
		select {
		case <-time.After(time.Second):
		case <-r.e.down:
			return
		}
	}
}

// letGo has the pod not wait for anybody when its containers have ended, and gathers what
// they write until then: of a pod that is deleted nothing is told before all of it has ended.
func (r *podRun) letGo() {
	r.letting.Do(func() {
		r.mu.Lock()
		p := r.is
		r.mu.Unlock()
		out := r.e.gather(context.Background(), r.name, p) // which ends with the containers
		r.mu.Lock()
		r.out = out
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		if resp, err := r.get(ctx, http.MethodPost, workload.ReleasePath); err == nil { // else it has gone already
			_ = resp.Body.Close() // it says nothing
		}
	})
}

// Leave implements engine.Running.
func (r *podRun) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.left = true
		r.finish(engine.RunEnd{})
	}
}

// Done implements engine.Running.
func (r *podRun) Done() <-chan struct{} { return r.done }

// End implements engine.Running.
func (r *podRun) End() engine.RunEnd {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

// Forget implements engine.Running.
func (r *podRun) Forget(ctx context.Context) {
	r.mu.Lock()
	left, p := r.left, r.is
	r.mu.Unlock()
	if left {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r.letGo()
	r.mu.Lock()
	out := r.out
	r.mu.Unlock()
	if out != nil {
		select {
		case <-out.ended:
		case <-time.After(lastLinesWithin):
		}
		if err := r.e.keepLogs(ctx, r.name, out); err != nil {
			r.e.cfg.Log.Warn("what a worker wrote cannot be kept", "pod", r.pod, "error", err)
		}
	}
	r.e.mu.Lock()
	r.e.forgotten[p.UID] = true
	r.e.mu.Unlock()
	if err := r.e.deleteRun(ctx, r.pod, time.Second); err != nil {
		r.e.cfg.Log.Warn("the pod of a worker that has ended stays until the next start", "pod", r.pod, "error", err)
	}
}
