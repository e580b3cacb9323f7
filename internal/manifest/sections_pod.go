package manifest

import (
	"strings"

	"cortex.dev/cortex/internal/workload"
)

var podSection = section[workload.Pod]{
	fields: append([]field[workload.Pod]{
		{
			key: "port", nullable: true, on: has("pod.port"), doc: "the port that receives requests, exported as CORTEX_PORT",
			schema: wholeSchema("pod.port", workload.DefaultPort),
			set: func(s *scope, t *workload.Pod, v value) {
				if p, ok := s.int32(v); ok {
					t.Port = &p
				}
			},
		},
		{
			key: "max_concurrency", on: has("pod.max_concurrency"), doc: "requests that one replica works on at once",
			schema: wholeSchema("pod.max_concurrency", workload.DefaultMaxConcurrency),
			set:    set((*scope).int64, func(t *workload.Pod) *int64 { return &t.MaxConcurrency }),
		},
		{
			key: "max_queue_length", on: has("pod.max_queue_length"), doc: "requests that wait for one replica; beyond it the answer is 503",
			schema: wholeSchema("pod.max_queue_length", workload.DefaultMaxQueueLength),
			set:    set((*scope).int64, func(t *workload.Pod) *int64 { return &t.MaxQueueLength }),
		},
		{
			key: "containers", required: true, doc: "a list of at least one container",
			schema: listSchema(&containerSection),
			set: func(s *scope, t *workload.Pod, v value) {
				decodeList(s, &containerSection, v, &t.Containers, workload.NewContainer)
			},
		},
		{
			key: "termination_grace_period", on: has("pod.termination_grace_period"),
			doc:    "how long a replica that is to stop may take: for requests in flight, less a sixth or at most a minute, then for pre_stop and SIGTERM (default: 60s)",
			schema: durationSchema(""),
			set: func(s *scope, t *workload.Pod, v value) {
				if d, ok := s.duration(v); ok {
					t.TerminationGracePeriod = &d
				}
			},
		},
		goneField(),
	}, placeFields()...),
}

func goneField() field[workload.Pod] {
	f := word("pod.", "on_client_gone",
		"a request whose caller leaves while the server works on it: finish lets the server end it, within five minutes, in the place that it has; cancel closes the connection to the server and frees the place, for servers that stop then (default: finish)",
		func(t *workload.Pod) *string { return &t.OnClientGone })
	f.on = has("pod.on_client_gone")
	return f
}

var containerSection = section[workload.Container]{
	inList: withCommand,
	fields: append([]field[workload.Container]{
		{
			key: "name", required: true, doc: "the name of the container, unique in its pod",
			schema: containerNameSchema,
			set:    set((*scope).filled, func(t *workload.Container) *string { return &t.Name }),
		},
		{
			key: "image", doc: "the image to run; on one machine a container without one runs its command as a process, and then needs one",
			schema: imageSchema,
			set: func(s *scope, t *workload.Container, v value) {
				t.Image, _ = s.filledOr(v, "", "remove the key to run the command as a process, on one machine")
			},
		},
		{
			key: "env", doc: "environment variables: a value, or {secret: NAME} for that of a secret; their names do not begin with " + strings.Join(workload.ReservedEnvPrefixes(), " or "),
			schema: envSchema,
			set:    set((*scope).variables, func(t *workload.Container) *map[string]workload.Variable { return &t.Env }),
		},
		{
			key: "env_file", doc: "a file of variables beside this one, or a list of such, of which later ones win; env wins over them",
			schema: envFileSchema,
			set: func(s *scope, _ *workload.Container, v value) {
				if values, ok := s.envFiles(v); ok {
					if s.fromFiles == nil {
						s.fromFiles = map[string]map[string]workload.Variable{}
					}
					s.fromFiles[strings.TrimSuffix(v.path, ".env_file")] = values
				}
			},
		},
		{
			key: "command", nullable: true, doc: "the executable and its first arguments, not run in a shell (default: the image's entrypoint)",
			schema: orEmpty(commandSchema),
			set:    set((*scope).wordsPresent, func(t *workload.Container) *[]string { return &t.Command }),
		},
		{
			key: "args", nullable: true, doc: "arguments; in these and in command, $(NAME) stands for a variable of the container (default: those of the image)",
			schema: orEmpty(wordsSchema),
			set:    set((*scope).wordsPresent, func(t *workload.Container) *[]string { return &t.Args }),
		},
		probeField("readiness_probe", "asks whether the container can receive requests",
			func(t *workload.Container) **workload.Probe { return &t.ReadinessProbe }),
		probeField("liveness_probe", "asks whether the container must be restarted",
			func(t *workload.Container) **workload.Probe { return &t.LivenessProbe }),
		{
			key: "pre_stop", nullable: true, on: has("pod.containers[].pre_stop"), doc: "runs before the container is told to stop",
			schema: handlersSchema("pre_stop", &preStopSection),
			set: func(s *scope, t *workload.Container, v value) {
				if p := (&workload.PreStop{}); decodeSection(s, &preStopSection, v, p) {
					t.PreStop = p
				}
			},
		},
		{
			key: "compute", doc: "what the container requests",
			schema: sectionSchema(&computeSection),
			set: func(s *scope, t *workload.Container, v value) {
				decodeSection(s, &computeSection, v, t.Compute)
			},
		},
	}, containerPlaceFields()...),
}

// fillVariables adds what containers have from env files to what their env says.
func (s *scope) fillVariables() {
	if s.spec.Pod == nil {
		return
	}
	for i := range s.spec.Pod.Containers {
		c := &s.spec.Pod.Containers[i]
		for name, v := range s.fromFiles[index("pod.containers", i)] {
			if _, said := c.Env[name]; !said {
				if c.Env == nil {
					c.Env = map[string]workload.Variable{}
				}
				c.Env[name] = v
			}
		}
	}
}

var variableSection = section[workload.Variable]{fields: []field[workload.Variable]{{
	key: "secret", required: true, doc: "the secret whose value the variable has, as cortex secret list shows it",
	schema: func(workload.Kind) object { return shapeSchema("pod.containers[].env{}") },
	set:    set((*scope).filled, func(t *workload.Variable) *string { return &t.Secret }),
}}}

var computeSection = section[workload.Compute]{
	fields: append([]field[workload.Compute]{
		amount("cpu", "cores, such as 200m or 1.5; null requests none",
			func(t *workload.Compute) **workload.Quantity { return &t.CPU }),
		amount("mem", "memory, such as 256Mi",
			func(t *workload.Compute) **workload.Quantity { return &t.Mem }),
		devices("gpu", "GPUs", func(t *workload.Compute) *int64 { return &t.GPU }),
		devices("inf", "Inferentia chips", func(t *workload.Compute) *int64 { return &t.Inf }),
		amount("shm", "the size of /dev/shm, part of mem and at most as much",
			func(t *workload.Compute) **workload.Quantity { return &t.Shm }),
	}, computePlaceFields()...),
}

func amount(key, doc string, into func(*workload.Compute) **workload.Quantity) field[workload.Compute] {
	return field[workload.Compute]{
		key: key, doc: doc, nullable: true,
		schema: quantitySchema("pod.containers[].compute."+key, *into(workload.NewCompute())),
		set:    set((*scope).quantityPresent, into),
		null:   func(t *workload.Compute) { *into(t) = nil },
	}
}

func devices(key, doc string, into func(*workload.Compute) *int64) field[workload.Compute] {
	return field[workload.Compute]{
		key: key, doc: doc,
		schema: wholeSchema("pod.containers[].compute."+key, *into(workload.NewCompute())),
		set:    set((*scope).int64, into),
	}
}

func probeField(key, doc string, into func(*workload.Container) **workload.Probe) field[workload.Container] {
	sec := probeSection(key)
	return field[workload.Container]{
		key: key, doc: doc, nullable: true, on: has("pod.containers[]." + key),
		schema: handlersSchema(key, sec),
		set: func(s *scope, t *workload.Container, v value) {
			if p := workload.NewProbe(); decodeSection(s, sec, v, p) {
				*into(t) = p
			}
		},
	}
}

func probeSection(name string) *section[workload.Probe] {
	fields := []field[workload.Probe]{
		httpField(name, func(t *workload.Probe) **workload.HTTPGet { return &t.HTTPGet }),
		{
			key: "tcp_socket", on: has("pod.containers[]." + name + ".tcp_socket"), doc: "succeeds when a connection opens",
			schema: sectionSchema(&tcpSection),
			set: func(s *scope, t *workload.Probe, v value) {
				t.TCPSocket = &workload.TCPSocket{}
				decodeSection(s, &tcpSection, v, t.TCPSocket)
			},
		},
		execField(name, func(t *workload.Probe) **workload.Exec { return &t.Exec }),
	}
	for _, f := range []struct {
		key, doc string
		into     func(*workload.Probe) *int32
	}{
		{"initial_delay_seconds", "seconds before the first question", func(t *workload.Probe) *int32 { return &t.InitialDelaySeconds }},
		{"timeout_seconds", "seconds to wait for an answer", func(t *workload.Probe) *int32 { return &t.TimeoutSeconds }},
		{"period_seconds", "seconds between questions", func(t *workload.Probe) *int32 { return &t.PeriodSeconds }},
		{"success_threshold", "successes in a row that count", func(t *workload.Probe) *int32 { return &t.SuccessThreshold }},
		{"failure_threshold", "failures in a row that count", func(t *workload.Probe) *int32 { return &t.FailureThreshold }},
	} {
		fields = append(fields, field[workload.Probe]{
			key: f.key, doc: f.doc,
			schema: wholeSchema("probe."+f.key, *f.into(workload.NewProbe())),
			set:    set((*scope).int32, f.into),
		})
	}
	return &section[workload.Probe]{fields: fields}
}

func httpField[T any](name string, into func(*T) **workload.HTTPGet) field[T] {
	return field[T]{
		key: "http_get", on: has("pod.containers[]." + name + ".http_get"), doc: "succeeds on a status from 200 to 399",
		schema: sectionSchema(&httpSection),
		set: func(s *scope, t *T, v value) {
			h := &workload.HTTPGet{Path: "/"}
			*into(t) = h
			decodeSection(s, &httpSection, v, h)
		},
	}
}

func execField[T any](name string, into func(*T) **workload.Exec) field[T] {
	return field[T]{
		key: "exec", on: has("pod.containers[]." + name + ".exec"), doc: "succeeds when the command exits with 0",
		schema: sectionSchema(&execSection),
		set: func(s *scope, t *T, v value) {
			e := &workload.Exec{}
			*into(t) = e
			decodeSection(s, &execSection, v, e)
		},
	}
}

var preStopSection = section[workload.PreStop]{
	fields: []field[workload.PreStop]{
		httpField("pre_stop", func(t *workload.PreStop) **workload.HTTPGet { return &t.HTTPGet }),
		execField("pre_stop", func(t *workload.PreStop) **workload.Exec { return &t.Exec }),
	},
}

var httpSection = section[workload.HTTPGet]{
	fields: []field[workload.HTTPGet]{
		{
			key: "path", doc: "the path to get; a status from 200 to 399 is a success",
			schema: probePathSchema,
			set:    set((*scope).text, func(t *workload.HTTPGet) *string { return &t.Path }),
		},
		{
			key: "port", required: true, doc: "the container's port",
			schema: wholeSchema("probe.http_get.port", nil),
			set:    set((*scope).int32, func(t *workload.HTTPGet) *int32 { return &t.Port }),
		},
	},
}

var tcpSection = section[workload.TCPSocket]{
	fields: []field[workload.TCPSocket]{
		{
			key: "port", required: true, doc: "the container's port",
			schema: wholeSchema("probe.tcp_socket.port", nil),
			set:    set((*scope).int32, func(t *workload.TCPSocket) *int32 { return &t.Port }),
		},
	},
}

var execSection = section[workload.Exec]{
	fields: []field[workload.Exec]{
		{
			key: "command", required: true, doc: "the executable and its arguments",
			schema: commandSchema,
			set:    set((*scope).wordsPresent, func(t *workload.Exec) *[]string { return &t.Command }),
		},
	},
}
