{{/* Names and labels. Every template here takes the chart's own scope: `.` inside this chart,
     `.Subcharts.nuthatch` in a chart that depends on it. */}}

{{- define "nuthatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "nuthatch.fullname" -}}
{{- $name := include "nuthatch.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What finds the pods; it may never change. The component is added where it is used. */}}
{{- define "nuthatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nuthatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nuthatch.labels" -}}
{{ include "nuthatch.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The port that every client of this protocol knows. */}}
{{- define "nuthatch.knownPort" -}}
{{- get (dict "memcached" 11211 "redis" 6379) .Values.protocol }}
{{- end }}

{{/* LISTEN_PORT. */}}
{{- define "nuthatch.listenPort" -}}
{{- .Values.proxy.port | default (include "nuthatch.knownPort" .) | int }}
{{- end }}

{{- define "nuthatch.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}
