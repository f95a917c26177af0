{{/* What a container of the proxy has in every mode. What differs is written where it is used:
     the sidecar in _sidecar.tpl, central mode in central/deployment.yaml. */}}

{{/* `servers`, one a line: the pods of the own StatefulSet, by their names or by the Service in DNS, or
     those from outside. */}}
{{- define "nuthatch.servers" -}}
{{- $protocol := .Values.protocol }}
{{- $own := get .Values $protocol }}
{{- $port := include "nuthatch.knownPort" . }}
{{- if and $own.enabled .Values.servers }}
{{- fail (printf "nuthatch: servers and %s.enabled contradict each other: set %s.enabled to false to use the servers from outside, or leave servers empty" $protocol $protocol) }}
{{- else if and $own.enabled (eq .Values.proxy.discovery "dnssrv") }}
{{- include "nuthatch.checkDiscovery" . }}
- {{ printf "dnssrv+_%s._tcp.%s" $protocol $own.fullname | quote }}
{{- else if $own.enabled }}
{{- $name := $own.fullname }}
{{- range $i := until (int $own.replicas) }}
- {{ printf "%s-%d.%s:%s:1" $name $i $name $port | quote }}
{{- end }}
{{- else if .Values.servers }}
{{- range .Values.servers }}
{{- /* In a file, twemproxy's format has a weight always. */}}
{{- $words := splitn " " 2 . }}
{{- $weight := ternary "" ":1" (regexMatch "^dnssrv|:[0-9]+:[0-9]+$" $words._0) }}
- {{ printf "%s%s %s" $words._0 $weight ($words._1 | default "") | trim | quote }}
{{- end }}
{{- else }}
{{- fail (printf "nuthatch: there are no servers: list them in servers, or set %s.enabled to true" $protocol) }}
{{- end }}
{{- end }}

{{/* What does not go together with servers that DNS tells of. */}}
{{- define "nuthatch.checkDiscovery" -}}
{{- if (get .Values .Values.protocol).spare }}
{{- fail (printf "nuthatch: %s.spare and proxy.discovery: dnssrv contradict each other: DNS tells of every pod, so the proxies use spare ones too. Set spare to 0, or discovery to list" .Values.protocol) }}
{{- else if .Values.proxy.migrate.window }}
{{- fail "nuthatch: proxy.migrate.window and proxy.discovery: dnssrv contradict each other: a server leaves DNS when its pod is gone, and keys can move only while it answers. Set discovery to list, or leave window empty" }}
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

{{/* A size such as 64k, in kilobytes. */}}
{{- define "nuthatch.kilobytes" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "k" 1 "m" 1024 "g" 1048576) (trunc -1 .)) }}
{{- end }}

{{/* item_size_max, keys_max and so on: what is empty is left to the program. */}}
{{- define "nuthatch.limits" -}}
{{- $own := .Values.proxy.limits.itemSizeMax }}
{{- $isRedis := eq .Values.protocol "redis" }}
{{- $servers := ternary .Values.memcached.itemSizeMax "" (and .Values.memcached.enabled (not $isRedis)) }}
{{- if and $own $servers (lt (include "nuthatch.kilobytes" $own | int) (include "nuthatch.kilobytes" $servers | int)) }}
{{- fail "nuthatch: proxy.limits.itemSizeMax is less than memcached.itemSizeMax, so the proxy would refuse what the servers take: raise the one or lower the other" }}
{{- end }}
{{- range $limit, $value := ternary (omit .Values.proxy.limits "lineMax") .Values.proxy.limits $isRedis }}
{{- if ne (toString $value) "" }}
{{ $limit | snakecase }}: {{ kindIs "string" $value | ternary $value (int64 $value) }}
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
{{- end }}
{{- if $isRedis }}
{{- include "nuthatch.redisSettings" $chart | trim | nindent 2 }}
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
{{- if and .Values.proxy.redis.user (not .Values.redis.password.secret) }}
{{- fail "nuthatch: proxy.redis.user needs a password: name its Secret in redis.password.secret" }}
{{- end }}
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

{{/* What concerns the process: a reload changes none of it. */}}
{{- define "nuthatch.env" -}}
- name: ADMIN_LISTEN
  value: 0.0.0.0:{{ .Values.admin.port }}
- name: WORKERS
  value: {{ .Values.proxy.workers | quote }}
- name: LOG_LEVEL
  value: {{ .Values.proxy.logLevel | quote }}
- name: LOG_FORMAT
  value: {{ .Values.proxy.logFormat | quote }}
{{- end }}

{{/* Of the values that are in the file, the one that a reload does not change: as an annotation of
     the pods, so that another number makes new pods. */}}
{{- define "nuthatch.startAnnotations" -}}
{{- if not .Values.config -}}
nuthatch/server-connections: {{ .Values.proxy.serverConnections | int | quote }}
{{- end }}
{{- end }}

{{- define "nuthatch.args" -}}
- --stats-addr={{ .Values.proxy.statsAddress }}
- --conf-file=/etc/nuthatch/nutcracker.yml
{{- end }}

{{/* Ready means able to route, whatever the servers' health: a dead cache must not take the
     application out of service. The startup probe holds the application back for a moment only. */}}
{{- define "nuthatch.probes" -}}
startupProbe:
  httpGet:
    path: /ready
    port: admin
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet:
    path: /ready
    port: admin
  periodSeconds: 5
livenessProbe:
  httpGet:
    path: /live
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Passes Pod Security "restricted", whatever the pod around it says. */}}
{{- define "nuthatch.securityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What every container of the proxy mounts, with or without a socket: its file and the password.
     A kubelet never updates a file that is mounted by itself, so it is the folder: there the proxy
     finds a new file, and reloads. */}}
{{- define "nuthatch.mounts" -}}
- name: nuthatch-config
  mountPath: /etc/nuthatch
  readOnly: true
{{- include "nuthatch.passwordMount" . }}
{{- include "nuthatch.accountMount" . }}
{{- end }}

{{/* Given the chart's scope as `chart`, and as `key` which file of config.yaml is nutcracker.yml. */}}
{{- define "nuthatch.mountedVolumes" -}}
- name: nuthatch-config
  configMap:
    name: {{ include "nuthatch.fullname" .chart }}
    items:
      - key: {{ .key }}
        path: nutcracker.yml
{{- include "nuthatch.passwordVolume" .chart }}
{{- include "nuthatch.accountVolume" .chart }}
{{- end }}

{{/* The password of Redis servers, for them and for the proxy. */}}
{{- define "nuthatch.passwordFile" -}}
/run/secrets/nuthatch/redis-password
{{- end }}

{{- define "nuthatch.passwordMount" }}
{{- if and (eq .Values.protocol "redis") .Values.redis.password.secret }}
- name: nuthatch-password
  mountPath: {{ include "nuthatch.passwordFile" . | dir }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "nuthatch.passwordVolume" }}
{{- if and (eq .Values.protocol "redis") .Values.redis.password.secret }}
- name: nuthatch-password
  secret:
    secretName: {{ .Values.redis.password.secret }}
    items:
      - key: {{ .Values.redis.password.key }}
        path: {{ include "nuthatch.passwordFile" . | base }}
{{- end }}
{{- end }}
