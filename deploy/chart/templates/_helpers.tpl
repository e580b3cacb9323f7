{{/* Labels of every object; . is the root context. */}}
{{- define "cortex.labels" -}}
app.kubernetes.io/part-of: cortex
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What selects the pods of one role, for ever: selectors cannot change. */}}
{{- define "cortex.selector" -}}
app.kubernetes.io/part-of: cortex
app.kubernetes.io/name: {{ . }}
{{- end }}

{{/* The image of one of our programs: include "cortex.image" (list $ "operator"). */}}
{{- define "cortex.image" -}}
{{- $root := index . 0 -}}
{{- $digest := get $root.Values.image.digests (index . 1) -}}
{{- with get $root.Values.image.names (index . 1) }}{{ . }}{{ else -}}
{{ printf "%s/%s:%s" (trimSuffix "/" $root.Values.image.registry) (index . 1) (default $root.Chart.AppVersion $root.Values.image.tag) }}{{ with $digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/*
How many pods a Deployment has: include "cortex.replicas" (list $ "gateway" .Values.gateway).
Nothing where an autoscaler says it, the chart's own or one that is found on the cluster:
the number would jump at each upgrade. Until it has spoken for the first time the number
of now is written, because a field that nobody owns any more falls back to 1.
*/}}
{{- define "cortex.replicas" -}}
{{- $root := index . 0 }}{{ $deployment := printf "cortex-%s" (index . 1) }}{{ $values := index . 2 -}}
{{- $scaled := and $values.autoscaling $values.autoscaling.enabled -}}
{{- range (lookup "autoscaling/v2" "HorizontalPodAutoscaler" $root.Release.Namespace "").items -}}
{{- if and (eq .spec.scaleTargetRef.kind "Deployment") (eq .spec.scaleTargetRef.name $deployment) }}{{ $scaled = true }}{{ end -}}
{{- end -}}
{{- if not $scaled -}}
{{- with $values.replicas }}replicas: {{ . }}{{ end -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" $root.Release.Namespace $deployment -}}
{{- $spoken := false -}}
{{- range dig "metadata" "managedFields" list ($live | default dict) }}{{ if eq (.subresource | default "") "scale" }}{{ $spoken = true }}{{ end }}{{ end -}}
{{- if and $live (not $spoken) }}replicas: {{ $live.spec.replicas }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The class of our pods: nothing that APIs run may push them off a full node. */}}
{{- define "cortex.priorityClass" -}}
{{- $root := index . 0 }}{{ $values := index . 1 -}}
{{- if $values.priorityClassName }}{{ $values.priorityClassName }}
{{- else if $root.Values.priorityClass.create }}{{ include "cortex.ownPriorityClass" $root }}
{{- end -}}
{{- end }}

{{/* It is one of the cluster, so the namespace is in its name (which `helm lint` does not have). */}}
{{- define "cortex.ownPriorityClass" -}}
{{ printf "cortex-%s" .Release.Namespace | trimSuffix "-" }}
{{- end }}

{{/* What all our pods have in common: include "cortex.pod" (list $ "operator" .Values.operator). */}}
{{- define "cortex.pod" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $values := index . 2 -}}
serviceAccountName: cortex-{{ $name }}
{{- with include "cortex.priorityClass" (list $root $values) }}
priorityClassName: {{ . }}
{{- end }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  {{- if eq $name "ledger" }}
  fsGroupChangePolicy: OnRootMismatch # of what may be many files
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    {{- if ne $name "ledger" }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
    labelSelector:
      matchLabels:
        {{- include "cortex.selector" $name | nindent 8 }}
  {{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all our containers have in common. */}}
{{- define "cortex.container" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $values := index . 2 -}}
image: {{ include "cortex.image" (list $root $name) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
# Why a program ended is in the status of its pod.
terminationMessagePolicy: FallbackToLogsOnError
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  {{- if $values.authorities }}
  # Read besides the file of the image.
  - {name: SSL_CERT_DIR, value: /etc/cortex/authorities}
  {{- end }}
  {{- if dig "limits" "memory" "" $values.resources }}
  # The Go runtime collects harder before the kernel kills.
  - name: GOMEMLIMIT
    valueFrom: {resourceFieldRef: {resource: limits.memory}}
  {{- end }}
{{- end }}

{{/* Where traces are sent: by a gateway itself, and by the sidecars of an operator. */}}
{{- define "cortex.tracing" -}}
{{- with .Values.tracing.endpoint -}}
- --trace-endpoint={{ . }}
- --trace-ratio={{ $.Values.tracing.ratio }}
{{- end }}
{{- end }}

{{/*
The probes of our programs: one that starts answers when it is ready, so that none fails
meanwhile. The number is how often it may fail, after close to a minute each.
*/}}
{{- define "cortex.probes" -}}
startupProbe:
  httpGet: {path: /startz, port: health}
  initialDelaySeconds: 1
  periodSeconds: 1
  timeoutSeconds: 60
  failureThreshold: {{ . }}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* Annotations and labels that an installation adds to pods; ours stay as they are. */}}
{{- define "cortex.podMetadata" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $values := index . 2 -}}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- $ours := merge (fromYaml (include "cortex.labels" $root)) (fromYaml (include "cortex.selector" $name)) }}
  {{- merge $ours ($values.podLabels | default dict) | toYaml | nindent 2 }}
{{- end }}

{{/* How a Service is reached from outside, but for its ports. */}}
{{- define "cortex.serviceType" -}}
type: {{ .type }}
{{- if eq .type "LoadBalancer" }}
{{- with .class }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with .cidrs }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if and .externalTrafficPolicy (ne .type "ClusterIP") }}
externalTrafficPolicy: {{ .externalTrafficPolicy }}
{{- end }}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* Annotations of a load balancer: scheme and certificate as clouds read them. */}}
{{- define "cortex.loadBalancerAnnotations" -}}
{{- $lb := . }}{{ $notes := dict -}}
{{- if eq $lb.type "LoadBalancer" }}
{{- $notes = merge $notes (dict "service.beta.kubernetes.io/aws-load-balancer-type" "nlb" "service.beta.kubernetes.io/aws-load-balancer-scheme" $lb.scheme) }}
{{- if eq $lb.scheme "internal" }}
{{- $notes = merge $notes (dict "service.beta.kubernetes.io/aws-load-balancer-internal" "true" "service.beta.kubernetes.io/azure-load-balancer-internal" "true" "networking.gke.io/load-balancer-type" "Internal") }}
{{- end }}
{{- with $lb.certificateARN }}
{{- $notes = merge $notes (dict "service.beta.kubernetes.io/aws-load-balancer-ssl-cert" . "service.beta.kubernetes.io/aws-load-balancer-ssl-ports" "https" "service.beta.kubernetes.io/aws-load-balancer-backend-protocol" "tcp") }}
{{- end }}
{{- end }}
{{- $notes = merge (deepCopy $lb.annotations) $notes }}
{{- with $notes }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Networks of one family, with those of the other left out: (list . "4"). */}}
{{- define "cortex.networks" -}}
{{- $found := list }}{{ $six := eq (index . 1) "6" -}}
{{- range index . 0 }}{{ if eq (contains ":" .) $six }}{{ $found = append $found . }}{{ end }}{{ end -}}
{{- toJson $found -}}
{{- end }}

{{/* Who may read metrics, as the from of an ingress rule. */}}
{{- define "cortex.metricsFrom" -}}
- namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.metrics.namespaces }}}
{{- if .Values.metrics.cloudwatch.group }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace }}
  podSelector:
    matchLabels:
      {{- include "cortex.selector" "cloudwatch" | nindent 6 }}
{{- end }}
{{- end }}

{{/* How large a node may be, as flags of the operator read it. */}}
{{- define "cortex.nodeSize" -}}
cpu={{ .cpu }},mem={{ .mem }}{{ with .gpu }},gpu={{ . }}{{ end }}{{ with .inf }},inf={{ . }}{{ end }}
{{- end }}

{{/* Where items are kept, as a URL. Nothing: nowhere, and AsyncAPIs are refused. */}}
{{- define "cortex.itemsURL" -}}
{{- with .Values.items -}}
{{- if and .servers .url }}{{ fail "items.servers and items.url exclude each other: items are kept by servers of the chart, or where the url says" }}{{ end -}}
{{- $bucket := hasPrefix "s3://" .url -}}
{{- if and $bucket (not .region) }}{{ fail "items.region is missing: the region of the bucket of items.url" }}{{ end -}}
{{- if and (or .region .queues) (not $bucket) }}{{ fail "items.region and items.queues are for a bucket, and items.url names none" }}{{ end -}}
{{- if and $bucket .secretName }}{{ fail "items.secretName is for servers: whoever uses a bucket has a role of AWS" }}{{ end -}}
{{- if and .url (not $bucket) (not .secretName) }}{{ fail "items.secretName is missing: the Secret with username and password for items.url" }}{{ end -}}
{{- if and .secretName (not .url) }}{{ fail "items.secretName is for items.url, which is missing: servers of the chart have a Secret of their own" }}{{ end -}}
{{- if .url }}{{ .url }}{{ else if .servers }}nats://cortex-ledger.{{ $.Release.Namespace }}.svc:4222{{ end -}}
{{- end -}}
{{- end }}

{{/* The Secret with the credentials for them; that of the chart's servers the operator makes. */}}
{{- define "cortex.itemsSecret" -}}
{{ default "cortex-ledger" .Values.items.secretName }}
{{- end }}

{{/* What gateways and operator are told of them. */}}
{{- define "cortex.items" -}}
{{- with include "cortex.itemsURL" . -}}
- --items={{ . }}
{{- if hasPrefix "s3://" . }}
- --items-region={{ $.Values.items.region }}
{{- with $.Values.items.queues }}
- --items-queues={{ . }}
{{- end }}
{{- else }}
- --items-secret={{ include "cortex.itemsSecret" $ }}
- --items-copies={{ default $.Values.items.copies $.Values.items.servers }}
{{- end }}
{{- range $.Values.items.webhookHosts }}
- --webhook-hosts={{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Nine tenths of a volume, in the next smaller unit: the rest is for what the server keeps beside items. */}}
{{- define "cortex.ledgerBytes" -}}
{{- $size := .Values.items.storage.size }}{{ $unit := regexFind "[MGT]i$" $size -}}
{{ div (mul (trimSuffix $unit $size | int64) 1024 9) 10 }}{{ get (dict "Mi" "Ki" "Gi" "Mi" "Ti" "Gi") $unit }}
{{- end }}

{{/* Where Fluent Bit is (`helm lint` has no namespace). */}}
{{- define "cortex.logsNamespace" -}}
{{ printf "%s-logs" .Release.Namespace | trimPrefix "-" }}
{{- end }}

{{- define "cortex.drainerNamespace" -}}
{{ printf "%s-drainer" .Release.Namespace | trimPrefix "-" }}
{{- end }}

{{/*
The settings of Fluent Bit: containers of APIs, without their sidecars. A stream of the log
group is called apis/POD.CONTAINER.
*/}}
{{- define "cortex.fluentBit" -}}
{{- $of := .Values.logs.cloudwatch -}}
[SERVICE]
    Flush         5
    Log_Level     warn
    Grace         20
[INPUT]
    Name              tail
    Path              /var/log/containers/*_{{ .Values.apis.namespace }}_*.log
    Exclude_Path      /var/log/containers/*_{{ .Values.apis.namespace }}_proxy-*.log
    Tag               <pod_name>.<container_name>
    Tag_Regex         (?<pod_name>[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)_(?<namespace_name>[^_]+)_(?<container_name>.+)-
    multiline.parser  cri
    DB                /state/tail.db
    Mem_Buf_Limit     16MB
    Skip_Long_Lines   On
    Read_from_Head    On
    Refresh_Interval  5
[OUTPUT]
    Name               cloudwatch_logs
    Match              *
    region             {{ default .Values.region $of.region }}
    log_group_name     {{ $of.group }}
    log_stream_prefix  apis/
    log_key            log
    auto_create_group  false
{{- end }}

{{/*
The settings of the collector. Each combination of the labels that are named for a metric is
one that CloudWatch charges for, so there are few.
*/}}
{{- define "cortex.collector" -}}
{{- $of := .Values.metrics.cloudwatch -}}
extensions:
  health_check: {endpoint: "0.0.0.0:13133"}
receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: cortex
          scrape_interval: {{ $of.interval }}
          kubernetes_sd_configs:
            - role: pod
              namespaces: {names: {{ toJson (uniq (list .Release.Namespace .Values.apis.namespace)) }}}
          relabel_configs:
            - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_part_of, __meta_kubernetes_pod_label_cortex_dev_api, __meta_kubernetes_pod_container_port_name]
              regex: cortex;[^;]*;health|[^;]*;true;admin
              action: keep
          metric_relabel_configs:
            - source_labels: [__name__]
              regex: cortex_(requests_total|request_duration_seconds.*|in_flight_requests|replicas|async_queued|async_oldest_seconds)
              action: keep
processors:
  batch: {}
exporters:
  awsemf:
    region: {{ default .Values.region $of.region }}
    namespace: {{ $of.namespace }}
    log_group_name: {{ $of.group | quote }}
    log_stream_name: metrics
    dimension_rollup_option: NoDimensionRollup
    metric_declarations:
      - dimensions: [[api_name, hop, code]]
        metric_name_selectors: [^cortex_requests_total]
      - dimensions: [[api_name, hop]]
        metric_name_selectors: [^cortex_request_duration_seconds]
      - dimensions: [[api_name, state]]
        metric_name_selectors: [^cortex_replicas, ^cortex_in_flight_requests]
      - dimensions: [[api_name]]
        metric_name_selectors: [^cortex_async_]
service:
  extensions: [health_check]
  telemetry: {logs: {level: warn}}
  pipelines:
    metrics: {receivers: [prometheus], processors: [batch], exporters: [awsemf]}
{{- end }}
