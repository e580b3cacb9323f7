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
{{ printf "%s/%s:%s" (trimSuffix "/" $root.Values.image.registry) (index . 1) (default $root.Chart.AppVersion $root.Values.image.tag) }}
{{- end }}

{{/* What all our pods have in common: include "cortex.pod" (list $ "operator" .Values.operator). */}}
{{- define "cortex.pod" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $values := index . 2 -}}
serviceAccountName: cortex-{{ $name }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
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

{{/* Who may read metrics, as the from of an ingress rule. */}}
{{- define "cortex.metricsFrom" -}}
- namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.metrics.namespaces }}}
{{- end }}

{{/* How large a node may be, as flags of the operator read it. */}}
{{- define "cortex.nodeSize" -}}
cpu={{ .cpu }},mem={{ .mem }}{{ with .gpu }},gpu={{ . }}{{ end }}{{ with .inf }},inf={{ . }}{{ end }}
{{- end }}
