{{/* The pods of `helm test`. */}}

{{/* A pod that starts as the sidecar or a central proxy does, opens every listener, and ends. Takes the
     chart's scope as `chart`, the `name` of the mode, the file's `key`, and the mode's `values`. */}}
{{- define "nuthatch.testStart" -}}
{{- include "nuthatch.testPod" . }}
      args:
        {{- include "nuthatch.args" .chart | nindent 8 }}
        - --test-conf
        - --bind
      env:
        {{- include "nuthatch.env" .chart | nindent 8 }}
        {{- include "nuthatch.extraEnv" .chart | indent 8 }}
{{- end }}

{{/* A pod up to the arguments of its only container. Without a `key`, it has the password alone. */}}
{{- define "nuthatch.testPod" -}}
{{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- $hasSocket := and (eq .name "sidecar") .chart.Values.sidecar.socket.enabled -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "nuthatch.metadata" (dict "chart" .chart "name" (printf "%s-test-%s" (include "nuthatch.fullname" .chart) .name) "component" "test" "annotations" (merge $annotations ((.chart.Values.tests | default dict).podAnnotations | default dict)) "labels" (.chart.Values.tests | default dict).podLabels) | nindent 2 }}
spec:
  restartPolicy: Never
  {{- $own := .chart.Values.tests | default dict }}
  {{- include "nuthatch.identity" (dict "pullSecrets" .chart.Values.imagePullSecrets "account" $own.serviceAccountName) | nindent 2 }}
  {{- with include "nuthatch.placement" (dict "values" (omit $own "affinity" "spreadOver")) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- $parts := dict "chart" .chart "prefix" "nuthatch" "key" .key }}
  {{- with ternary (include "nuthatch.mountedVolumes" $parts) (include "nuthatch.passwordVolume" $parts) (ne .key "") | trim }}
  volumes:
    {{- . | nindent 4 }}
    {{- if $hasSocket }}
    - name: nuthatch-socket
      emptyDir:
        sizeLimit: 1Mi
    {{- end }}
  {{- end }}
  containers:
    - name: {{ ternary "nuthatch" "ping" (ne .key "") }}
      image: {{ include "nuthatch.image" .chart | quote }}
      imagePullPolicy: {{ .chart.Values.image.pullPolicy }}
      resources:
        {{- include "nuthatch.resources" (dict "defaults" .values.resources "values" $own.resources) | trim | nindent 8 }}
      securityContext:
        {{- include "nuthatch.proxySecurityContext" .chart | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      {{- with ternary (include "nuthatch.mounts" $parts) (include "nuthatch.passwordMount" $parts) (ne .key "") | trim }}
      volumeMounts:
        {{- . | nindent 8 }}
        {{- if $hasSocket }}
        - name: nuthatch-socket
          mountPath: {{ include "nuthatch.socketPath" $.chart | dir | quote }}
        {{- end }}
      {{- end }}
{{- end }}

{{/* What must answer: the Service of the central proxies, and every server of the release. */}}
{{- define "nuthatch.testTargets" -}}
{{- $protocol := .Values.protocol }}
{{- $port := include "nuthatch.knownPort" . }}
{{- $own := get .Values $protocol }}
{{- $servers := include "nuthatch.serversName" . }}
{{- if .Values.central.enabled }}
- {{ printf "%s://%s:%s" $protocol (include "nuthatch.fullname" .) $port | quote }}
{{- end }}
{{- if $own.enabled }}
{{- range $i := until (int $own.replicas) }}
- {{ printf "%s://%s-%d.%s:%s" $protocol $servers $i $servers $port | quote }}
{{- end }}
{{- end }}
{{- end }}
