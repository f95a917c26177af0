{{/* What the StatefulSets of both protocols have beside them. These take the chart's scope; the
     protocol says which servers they are for. */}}

{{- define "nuthatch.serversService" -}}
{{- $own := get .Values .Values.protocol -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $own.fullname }}
  labels:
    {{- include "nuthatch.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ .Values.protocol }}
spec:
  clusterIP: None
  {{- /* With proxy.discovery: dnssrv, a pod would otherwise leave the ring while its container starts
         anew, and its keys would move twice. */}}
  # A name for each pod, also while it is not ready: the proxy sees for itself who answers.
  publishNotReadyAddresses: true
  selector:
    {{- include "nuthatch.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/component: {{ .Values.protocol }}
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
  name: {{ $own.fullname }}
  labels:
    {{- include "nuthatch.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ .Values.protocol }}
spec:
  maxUnavailable: 1
  # A pod that does not work must not keep its node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "nuthatch.selectorLabels" . | nindent 6 }}
      app.kubernetes.io/component: {{ .Values.protocol }}
{{- end }}
