{{/* The nutcracker.yml that the values make: one pool, named after its protocol. */}}

{{/* `servers`, one a line: the pods of the own StatefulSet, by their names or by the Service in DNS, or
     those from outside. */}}
{{- define "nuthatch.servers" -}}
{{- $protocol := .Values.protocol }}
{{- $own := get .Values $protocol }}
{{- $port := include "nuthatch.knownPort" . }}
{{- if and $own.enabled (eq .Values.proxy.discovery "dnssrv") }}
- {{ printf "dnssrv+_%s._tcp.%s" $protocol (include "nuthatch.serversName" .) | quote }}
{{- else if $own.enabled }}
{{- $name := include "nuthatch.serversName" . }}
{{- range $i := until (int $own.replicas) }}
- {{ printf "%s-%d.%s:%s:1" $name $i $name $port | quote }}
{{- end }}
{{- else }}
{{- include "nuthatch.listed" .Values.servers }}
{{- end }}
{{- end }}

{{/* A list of servers from outside. In a file, twemproxy's format has a weight always. */}}
{{- define "nuthatch.listed" -}}
{{- range . }}
{{- $words := splitn " " 2 . }}
{{- $weight := ternary "" ":1" (or (hasPrefix "dnssrv" $words._0) (eq (include "nuthatch.isWeighted" $words._0) "true")) }}
- {{ printf "%s%s %s" $words._0 $weight ($words._1 | default "") | trim | quote }}
{{- end }}
{{- end }}

{{/* The gutter, in the mode that has one; in others it would have no effect. */}}
{{- define "nuthatch.gutter" -}}
{{- if eq (.Values.proxy.onServerFailure | default "") "gutter" }}
{{- with .Values.proxy.gutter.ttl }}
gutter_ttl: {{ . }}
{{- end }}
gutter_servers:
  {{- include "nuthatch.listed" .Values.proxy.gutter.servers | trim | nindent 2 }}
{{- end }}
{{- end }}

{{/* migrate: nothing without a window, as keys then take nothing along. */}}
{{- define "nuthatch.migrate" -}}
{{- with .Values.proxy.migrate }}
{{- if .window -}}
migrate:
  window: {{ .window }}
  settle: {{ .settle }}
  {{- with .movesMax }}
  moves_max: {{ . | int }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* item_size_max, keys_max and so on: what is empty is left to the program. */}}
{{- define "nuthatch.limits" -}}
{{- $isRedis := eq .Values.protocol "redis" }}
{{- range $limit, $value := ternary (omit .Values.proxy.limits "lineMax") .Values.proxy.limits $isRedis }}
{{- if not (has $value (list nil "")) }}
{{ $limit | snakecase }}: {{ kindIs "string" $value | ternary $value (int64 $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* connect_timeout, on_server_failure and so on: what is empty is left to the program. */}}
{{- define "nuthatch.failures" -}}
{{- range $name := list "connectTimeout" "queueTimeout" "responseTimeout" "onServerFailure" "onJournalFull" "serverFailureRate" "serverProbes" "serverProbeTimeout" "serverSlowStart" "maxEjected" "slowAfter" "maxMove" }}
{{- $value := get $.Values.proxy $name }}
{{- if not (has $value (list nil "")) }}
{{ $name | snakecase }}: {{ kindIs "string" $value | ternary $value (int64 $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* nutcracker.yml, made of the values: one pool, named after its protocol. Given the chart's scope
     as `chart`, and the addresses to listen on as `listen`. */}}
{{- define "nuthatch.file" -}}
{{- $chart := .chart }}
{{- $isRedis := eq $chart.Values.protocol "redis" -}}
{{ $chart.Values.protocol }}:
  listen:
    {{- range .listen }}
    - {{ . | quote }}
    {{- end }}
{{- with $chart.Values.proxy }}
  hash: {{ .hash }}
  {{- with .hashTag | default (ternary "{}" "none" $isRedis) | replace "none" "" }}
  hash_tag: {{ . | quote }}
  {{- end }}
  distribution: {{ .distribution }}
  timeout: {{ .timeout | int }}
  auto_eject_hosts: {{ .autoEjectHosts }}
  server_retry_timeout: {{ .serverRetryTimeout | int }}
  server_failure_limit: {{ .serverFailureLimit | int }}
  server_connections: {{ .serverConnections | int }}
  preconnect: {{ .preconnect }}
  allow_flush: {{ .allowFlush }}
  {{- if .slowKeys }}
  slow_keys: true
  {{- end }}
{{- end }}
{{- if $isRedis }}
{{- include "nuthatch.redisSettings" $chart | trim | nindent 2 }}
{{- end }}
{{- with include "nuthatch.failures" $chart | trim }}
{{- . | nindent 2 }}
{{- end }}
{{- with include "nuthatch.gutter" $chart | trim }}
{{- . | nindent 2 }}
{{- end }}
{{- with include "nuthatch.limits" $chart | trim }}
{{- . | nindent 2 }}
{{- end }}
{{- with include "nuthatch.migrate" $chart }}
{{- . | nindent 2 }}
{{- end }}
  servers:
    {{- include "nuthatch.servers" $chart | trim | nindent 4 }}
{{- end }}

{{/* What only a pool of Redis has: what is empty is left to the program. */}}
{{- define "nuthatch.redisSettings" }}
redis: true
{{- if .Values.redis.password.secret }}
redis_auth_file: {{ include "nuthatch.passwordFile" . }}
{{- end }}
{{- with .Values.proxy.redis }}
{{- with .user }}
redis_user: {{ . | quote }}
{{- end }}
redis_db: {{ .database | int }}
cross_shard: {{ .crossShard }}
allow_keys: {{ .allowKeys }}
dedicated_connections_max: {{ .dedicatedConnectionsMax | int }}
{{- with .moduleCommands }}
module_commands:
  {{- range . }}
  - {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
