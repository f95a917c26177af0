{{/* For other charts. The whole interface is five templates, each given `.Subcharts.nuthatch`:

     nuthatch.sidecar         the container, for initContainers (sidecar.native) or containers
     nuthatch.host            what the application connects to
     nuthatch.volumes         for volumes: the proxy's file, the socket's folder, the password
     nuthatch.socketMount     for volumeMounts of the application, with sidecar.socket.enabled
     nuthatch.podAnnotations  for annotations of the pod: what makes new pods, as no reload changes it

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
  volumeMounts:
    {{- printf "%s\n%s" (include "nuthatch.mounts" .) (include "nuthatch.socketMount" .) | trim | nindent 4 }}
{{- end }}
{{- end }}

{{- define "nuthatch.host" -}}
{{- if not (or .Values.sidecar.enabled .Values.central.enabled) }}
{{- fail "nuthatch: there is no proxy to talk to: set sidecar.enabled or central.enabled to true" }}
{{- else if not .Values.sidecar.enabled }}
{{- include "nuthatch.fullname" . }}
{{- else if .Values.sidecar.socket.enabled }}
{{- include "nuthatch.socketPath" . }}
{{- else -}}
127.0.0.1
{{- end }}
{{- end }}

{{- define "nuthatch.socketPath" -}}
{{- .Values.sidecar.socket.path | default (printf "/run/nuthatch/%s.sock" .Values.protocol) }}
{{- end }}

{{- define "nuthatch.volumes" -}}
{{- if .Values.sidecar.enabled }}
{{- $socket := "" }}
{{- if .Values.sidecar.socket.enabled }}
{{- $socket = "- name: nuthatch-socket\n  emptyDir:\n    sizeLimit: 1Mi" }}
{{- end }}
{{- printf "%s\n%s" (include "nuthatch.mountedVolumes" (dict "chart" . "key" "nutcracker.yml")) $socket | trim }}
{{- end }}
{{- end }}

{{- define "nuthatch.socketMount" -}}
{{- if and .Values.sidecar.enabled .Values.sidecar.socket.enabled -}}
- name: nuthatch-socket
  mountPath: {{ include "nuthatch.socketPath" . | dir }}
{{- end }}
{{- end }}

{{- define "nuthatch.podAnnotations" -}}
{{- if .Values.sidecar.enabled }}
{{- include "nuthatch.startAnnotations" . }}
{{- end }}
{{- end }}
