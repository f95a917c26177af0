{{/* For other charts. The whole interface is five templates, each given `.Subcharts.nuthatch`:

     nuthatch.sidecar         the container, for initContainers (sidecar.native) or containers
     nuthatch.host            what the application connects to
     nuthatch.volumes         for volumes, with sidecar.socket.enabled or config
     nuthatch.socketMount     for volumeMounts of the application, with sidecar.socket.enabled
     nuthatch.podAnnotations  for annotations of the pod, with config: a new file makes new pods

     A template whose value is not set gives nothing. */}}

{{- define "nuthatch.sidecar" -}}
{{- if .Values.sidecar.enabled -}}
- name: nuthatch
  image: {{ include "nuthatch.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args:
    {{- include "nuthatch.args" . | nindent 4 }}
  env:
    {{- if not .Values.config }}
    - name: LISTEN_HOST
      value: 127.0.0.1
    {{- if .Values.sidecar.socket.enabled }}
    - name: LISTEN_SOCKET
      value: {{ .Values.sidecar.socket.path }} 666
    {{- end }}
    {{- end }}
    {{- include "nuthatch.env" . | nindent 4 }}
  ports:
    - name: admin
      containerPort: {{ .Values.admin.port }}
  {{- include "nuthatch.probes" . | nindent 2 }}
  {{- if not .Values.sidecar.native }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ .Values.sidecar.preStopSleepSeconds }}
  {{- end }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "nuthatch.securityContext" (dict "user" 65532) | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  {{- if or .Values.config .Values.sidecar.socket.enabled }}
  volumeMounts:
    {{- if .Values.config }}
    {{- include "nuthatch.configMount" . | nindent 4 }}
    {{- end }}
    {{- if .Values.sidecar.socket.enabled }}
    {{- include "nuthatch.socketMount" . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.host" -}}
{{- if not (or .Values.sidecar.enabled .Values.central.enabled) }}
{{- fail "nuthatch: there is no proxy to talk to: set sidecar.enabled or central.enabled to true" }}
{{- else if not .Values.sidecar.enabled }}
{{- include "nuthatch.fullname" . }}
{{- else if .Values.sidecar.socket.enabled }}
{{- .Values.sidecar.socket.path }}
{{- else -}}
127.0.0.1
{{- end }}
{{- end }}

{{- define "nuthatch.volumes" -}}
{{- if .Values.sidecar.enabled }}
{{- if .Values.config }}
{{- include "nuthatch.configVolume" . }}
{{ end }}
{{- if .Values.sidecar.socket.enabled -}}
- name: nuthatch-socket
  emptyDir:
    sizeLimit: 1Mi
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.socketMount" -}}
{{- if and .Values.sidecar.enabled .Values.sidecar.socket.enabled -}}
- name: nuthatch-socket
  mountPath: {{ dir .Values.sidecar.socket.path }}
{{- end }}
{{- end }}

{{- define "nuthatch.podAnnotations" -}}
{{- with .Values.config -}}
checksum/nuthatch: {{ sha256sum . }}
{{- end }}
{{- end }}
