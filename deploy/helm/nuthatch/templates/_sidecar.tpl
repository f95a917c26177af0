{{/* For other charts. The whole interface is six templates, each given `.Subcharts.nuthatch`:

     nuthatch.sidecar         the container, for initContainers (sidecar.native) or containers
     nuthatch.host            what the application connects to, and
     nuthatch.port            on which port
     nuthatch.volumes         for volumes: the proxy's file, the socket's folder, the password
     nuthatch.socketMount     for volumeMounts of the application, with sidecar.socket.enabled
     nuthatch.podAnnotations  for annotations of the pod: what makes new pods, as no reload changes it

     A template whose value is not set gives nothing. */}}

{{- define "nuthatch.sidecar" -}}
{{- if .Values.sidecar.enabled -}}
- name: {{ .Values.sidecar.containerName | quote }}
  image: {{ include "nuthatch.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args:
    {{- include "nuthatch.args" . | nindent 4 }}
  env:
    {{- include "nuthatch.env" . | nindent 4 }}
    {{- include "nuthatch.extraEnv" . | indent 4 }}
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
    {{- include "nuthatch.resources" (dict "values" .Values.sidecar.resources) | trim | nindent 4 }}
  securityContext:
    {{- include "nuthatch.proxySecurityContext" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    {{- include "nuthatch.mounts" (dict "chart" . "prefix" .Values.sidecar.containerName) | nindent 4 }}
    {{- with include "nuthatch.socketMount" . }}
    {{- . | nindent 4 }}
    {{- end }}
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

{{/* A sidecar is asked where it listens, central proxies at their Service. */}}
{{- define "nuthatch.port" -}}
{{- ternary (include "nuthatch.listenPort" .) (include "nuthatch.knownPort" .) .Values.sidecar.enabled }}
{{- end }}

{{- define "nuthatch.socketPath" -}}
{{- .Values.sidecar.socket.path | default (printf "/run/%s/%s.sock" .Values.sidecar.containerName .Values.protocol) }}
{{- end }}

{{- define "nuthatch.volumes" -}}
{{- if .Values.sidecar.enabled }}
{{- include "nuthatch.mountedVolumes" (dict "chart" . "key" (include "nuthatch.sidecarFile" .) "prefix" .Values.sidecar.containerName) }}
{{- if .Values.sidecar.socket.enabled }}
- name: {{ .Values.sidecar.containerName }}-socket
  emptyDir:
    sizeLimit: 1Mi
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.socketMount" -}}
{{- if and .Values.sidecar.enabled .Values.sidecar.socket.enabled -}}
- name: {{ .Values.sidecar.containerName }}-socket
  mountPath: {{ include "nuthatch.socketPath" . | dir | quote }}
{{- end }}
{{- end }}

{{- define "nuthatch.podAnnotations" -}}
{{- if .Values.sidecar.enabled }}
{{- include "nuthatch.startAnnotations" (dict "chart" . "container" .Values.sidecar.containerName) }}
{{- end }}
{{- end }}
