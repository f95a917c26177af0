{{/* Names and labels. Every template here takes the chart's own scope: `.` inside this chart,
     `.Subcharts.nuthatch` in a chart that depends on it. A name may look like a number or a truth value,
     so every template quotes names. */}}

{{- define "nuthatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of objects. A Service's name begins with a letter and has no dot; a release's name may be
     123 or my.app. */}}
{{- define "nuthatch.fullname" -}}
{{- $chart := include "nuthatch.name" . }}
{{- $name := printf "%s-%s" .Release.Name $chart }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains $chart .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- if not (regexMatch "^[a-z]" $name) }}
{{- $name = printf "n-%s" $name }}
{{- end }}
{{- $name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What finds the pods; it may never change. The component is added where it is used. */}}
{{- define "nuthatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nuthatch.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* name, labels and annotations of an object. Takes the chart's scope as `chart`, `name`, and where an
     object has them `component`, `labels` and `annotations`. */}}
{{- define "nuthatch.metadata" -}}
{{- $chart := .chart }}
{{- $labels := include "nuthatch.selectorLabels" $chart | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/version" $chart.Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $chart.Release.Service }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $chart.Chart.Name $chart.Chart.Version | replace "+" "_" | trunc 63) }}
{{- with .component }}
{{- $_ := set $labels "app.kubernetes.io/component" . }}
{{- end }}
{{- $annotations := merge dict (.annotations | default dict) $chart.Values.commonAnnotations -}}
name: {{ .name | quote }}
labels:
  {{- merge $labels (.labels | default dict) $chart.Values.commonLabels | toYaml | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The port that every client of this protocol knows. */}}
{{- define "nuthatch.knownPort" -}}
{{- get (dict "memcached" 11211 "redis" 6379) .Values.protocol }}
{{- end }}

{{/* LISTEN_PORT. */}}
{{- define "nuthatch.listenPort" -}}
{{- .Values.proxy.port | default (include "nuthatch.knownPort" .) | int }}
{{- end }}

{{/* An image of the values, with the tag that is meant where none is given. */}}
{{- define "nuthatch.imageOf" -}}
{{- with .image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "nuthatch.image" -}}
{{- include "nuthatch.imageOf" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
{{- end }}
