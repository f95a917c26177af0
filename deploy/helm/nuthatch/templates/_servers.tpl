{{/* What the StatefulSets of both protocols have in common. These take the chart's scope; the protocol
     says which servers they are for. */}}

{{- define "nuthatch.serversService" -}}
{{- $own := get .Values .Values.protocol -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "nuthatch.metadata" (dict "chart" . "name" (include "nuthatch.serversName" .) "component" .Values.protocol "annotations" $own.serviceAnnotations) | nindent 2 }}
spec:
  clusterIP: None
  {{- /* With proxy.discovery: dnssrv, a pod would otherwise leave the ring while its container starts
         anew, and its keys would move twice. */}}
  # A name for each pod, also while it is not ready: the proxy sees for itself who answers.
  publishNotReadyAddresses: true
  selector:
    {{- include "nuthatch.podSelector" (dict "chart" . "component" .Values.protocol) | nindent 4 }}
  ports:
    - name: {{ .Values.protocol }}
      port: {{ include "nuthatch.knownPort" . }}
      targetPort: {{ .Values.protocol }}
{{- end }}

{{- define "nuthatch.serversBudget" -}}
{{- $own := get .Values .Values.protocol -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "nuthatch.metadata" (dict "chart" . "name" (include "nuthatch.serversName" .) "component" .Values.protocol) | nindent 2 }}
spec:
  maxUnavailable: 1
  # A pod that does not work must not keep its node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "nuthatch.podSelector" (dict "chart" . "component" .Values.protocol) | nindent 6 }}
{{- end }}

{{/* The number of pods. With proxy.discovery: dnssrv something other than Helm may scale them: then it is
     the number that runs now, which an upgrade must not lower. Without a cluster to look at, the least
     number that was asked for. */}}
{{- define "nuthatch.serversReplicas" -}}
{{- $own := get .Values .Values.protocol }}
{{- $replicas := add $own.replicas $own.spare | int }}
{{- if eq .Values.proxy.discovery "dnssrv" }}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "nuthatch.serversName" .) }}
{{- $replicas = dig "spec" "replicas" $replicas ($live | default dict) | int | max $replicas }}
{{- end }}
{{- $replicas }}
{{- end }}

{{/* How many servers there are, and how they are replaced. */}}
{{- define "nuthatch.serversSpec" -}}
{{- $own := get .Values .Values.protocol -}}
serviceName: {{ include "nuthatch.serversName" . | quote }}
replicas: {{ include "nuthatch.serversReplicas" . }}
# No server waits for another one.
podManagementPolicy: Parallel
{{- with $own.minReadySeconds }}
minReadySeconds: {{ int . }}
{{- end }}
{{- with $own.partition }}
updateStrategy:
  type: RollingUpdate
  rollingUpdate:
    partition: {{ int . }}
{{- end }}
selector:
  matchLabels:
    {{- include "nuthatch.podSelector" (dict "chart" . "component" .Values.protocol) | nindent 4 }}
{{- end }}
