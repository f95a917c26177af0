{{/* Names and labels. Every template here takes the chart's own scope: `.` inside this chart,
     `.Subcharts.nuthatch` in a chart that depends on it. A name may look like a number or a truth value,
     so every template quotes names. */}}

{{- define "nuthatch.name" -}}
{{- include "nuthatch.fitted" (dict "name" (default .Chart.Name .Values.nameOverride) "length" 63) | trimAll "-_" }}
{{- end }}

{{/* A `name` that fits into a `length`: what is cut off leaves a hash behind, so that two names with the
     same beginning stay two. */}}
{{- define "nuthatch.fitted" -}}
{{- if gt (len .name) .length }}
{{- printf "%s-%s" (trunc (int (sub .length 9)) .name | trimSuffix "-") (sha256sum .name | trunc 8) }}
{{- else }}
{{- .name }}
{{- end }}
{{- end }}

{{/* Not empty if a parent chart has this one under another name, and so may have it more than once. */}}
{{- define "nuthatch.isAlias" -}}
{{- ternary "" "true" (eq .Chart.Name "nuthatch") }}
{{- end }}

{{/* Not empty if `labels` are of this chart in this release. */}}
{{- define "nuthatch.isOwn" -}}
{{- $labels := .labels | default dict }}
{{- range $key, $value := include "nuthatch.selectorLabels" .chart | fromYaml }}
{{- if ne (get $labels $key) $value }}
{{- $labels = dict }}
{{- end }}
{{- end }}
{{- ternary "true" "" (ne (len $labels) 0) }}
{{- end }}

{{/* The name of objects. A Service's name begins with a letter and has no dot; a release's name may be
     123 or my.app, an alias My_Cache. A release whose name has the chart's in it is not named twice, but
     two aliases may both be in it, so they are. A release from before keeps the names that it has. */}}
{{- define "nuthatch.fullname" -}}
{{- $chart := include "nuthatch.name" . | lower | replace "_" "-" }}
{{- $name := printf "%s-%s" .Release.Name $chart }}
{{- $before := $name }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- $before = $name }}
{{- else if contains $chart .Release.Name }}
{{- $before = .Release.Name }}
{{- $isAlone := and (eq $chart .Release.Name) (not (contains "nuthatch" $chart)) }}
{{- $name = ternary $before $name (or $isAlone (not (include "nuthatch.isAlias" .))) }}
{{- end }}
{{- $name = include "nuthatch.fitted" (dict "name" (include "nuthatch.serviceName" $name) "length" 63) }}
{{- $before = include "nuthatch.serviceName" $before | trunc 63 | trimSuffix "-" }}
{{- if ne $name $before }}
{{- $living := lookup "v1" "ConfigMap" .Release.Namespace $before | default dict }}
{{- $name = ternary $before $name (ne (include "nuthatch.isOwn" (dict "chart" . "labels" (dig "metadata" "labels" dict $living))) "") }}
{{- end }}
{{- $name }}
{{- end }}

{{/* A name with which a Service can be called. */}}
{{- define "nuthatch.serviceName" -}}
{{- $name := . | replace "." "-" | trimSuffix "-" }}
{{- ternary $name (printf "n-%s" $name) (regexMatch "^[a-z]" $name) }}
{{- end }}

{{/* The name of the servers' StatefulSet. An alias has one of its own, as each has servers. Servers from
     before keep the name that they have, as another one would empty the cache. */}}
{{- define "nuthatch.serversName" -}}
{{- $known := get (dict "memcached" "memcached-cluster" "redis" "redis-cache") .Values.protocol }}
{{- $name := (get .Values .Values.protocol).fullname }}
{{- if $name }}
{{- $name }}
{{- else if not (include "nuthatch.isAlias" .) }}
{{- $known }}
{{- else }}
{{- $living := lookup "apps/v1" "StatefulSet" .Release.Namespace $known | default dict }}
{{- if include "nuthatch.isOwn" (dict "chart" . "labels" (dig "spec" "selector" "matchLabels" dict $living)) }}
{{- $known }}
{{- else }}
{{- $alias := .Chart.Name | lower | replace "_" "-" | trimAll "-" }}
{{- include "nuthatch.fitted" (dict "name" (printf "%s-%s" $known $alias) "length" 52) }}
{{- end }}
{{- end }}
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
{{- $annotations := merge dict (.annotations | default dict) ($chart.Values.commonAnnotations | default dict) -}}
name: {{ .name | quote }}
labels:
  {{- merge $labels (.labels | default dict) ($chart.Values.commonLabels | default dict) | toYaml | nindent 2 }}
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
