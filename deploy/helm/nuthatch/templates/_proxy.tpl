{{/* What a container of the proxy has in every mode. What differs is written where it is used:
     the sidecar in _sidecar.tpl, central mode in central/deployment.yaml. */}}

{{/* SERVERS: the pods of the own StatefulSet by their names, or those from outside. */}}
{{- define "nuthatch.servers" -}}
{{- $protocol := .Values.protocol }}
{{- $own := get .Values $protocol }}
{{- $port := include "nuthatch.knownPort" . }}
{{- if and $own.enabled .Values.servers }}
{{- fail (printf "nuthatch: servers and %s.enabled contradict each other: set %s.enabled to false to use the servers from outside, or leave servers empty" $protocol $protocol) }}
{{- else if $own.enabled }}
{{- $name := $own.fullname }}
{{- range $i := until (int $own.replicas) }}
{{- if $i }},{{ end }}{{ $name }}-{{ $i }}.{{ $name }}:{{ $port }}:1
{{- end }}
{{- else if .Values.servers }}
{{- join "," .Values.servers }}
{{- else }}
{{- fail (printf "nuthatch: there are no servers: list them in servers, or set %s.enabled to true" $protocol) }}
{{- end }}
{{- end }}

{{/* A size such as 64k, in kilobytes. */}}
{{- define "nuthatch.kilobytes" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "k" 1 "m" 1024 "g" 1048576) (trunc -1 .)) }}
{{- end }}

{{/* ITEM_SIZE_MAX, KEYS_MAX and so on: what is empty is left to the program. */}}
{{- define "nuthatch.limits" -}}
{{- $own := .Values.proxy.limits.itemSizeMax }}
{{- $isRedis := eq .Values.protocol "redis" }}
{{- $servers := ternary .Values.memcached.itemSizeMax "" (and .Values.memcached.enabled (not $isRedis)) }}
{{- if and $own $servers (lt (include "nuthatch.kilobytes" $own | int) (include "nuthatch.kilobytes" $servers | int)) }}
{{- fail "nuthatch: proxy.limits.itemSizeMax is less than memcached.itemSizeMax, so the proxy would refuse what the servers take: raise the one or lower the other" }}
{{- end }}
{{- range $limit, $value := ternary (omit .Values.proxy.limits "lineMax") .Values.proxy.limits $isRedis }}
{{- if ne (toString $value) "" }}
- name: {{ $limit | snakecase | upper }}
  value: {{ kindIs "string" $value | ternary $value (int64 $value) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pool, unless a file describes it, and then what concerns the process. */}}
{{- define "nuthatch.env" -}}
{{- if not .Values.config -}}
- name: SERVERS
  value: {{ include "nuthatch.servers" . | quote }}
{{- with .Values.proxy }}
- name: LISTEN_PORT
  value: {{ include "nuthatch.listenPort" $ | quote }}
- name: HASH
  value: {{ .hash | quote }}
{{- with .hashTag | default (ternary "{}" "none" (eq $.Values.protocol "redis")) | replace "none" "" }}
- name: HASH_TAG
  value: {{ . | quote }}
{{- end }}
- name: DISTRIBUTION
  value: {{ .distribution | quote }}
- name: TIMEOUT
  value: {{ .timeout | int | quote }}
- name: AUTO_EJECT_HOSTS
  value: {{ .autoEjectHosts | quote }}
- name: SERVER_RETRY_TIMEOUT
  value: {{ .serverRetryTimeout | int | quote }}
- name: SERVER_FAILURE_LIMIT
  value: {{ .serverFailureLimit | int | quote }}
- name: SERVER_CONNECTIONS
  value: {{ .serverConnections | int | quote }}
- name: PRECONNECT
  value: {{ .preconnect | quote }}
- name: ALLOW_FLUSH
  value: {{ .allowFlush | quote }}
{{- end }}
{{- if eq .Values.protocol "redis" }}
{{- include "nuthatch.redisEnv" . }}
{{- end }}
{{- include "nuthatch.limits" . }}
{{ end -}}
- name: ADMIN_LISTEN
  value: 0.0.0.0:{{ .Values.admin.port }}
- name: WORKERS
  value: {{ .Values.proxy.workers | quote }}
- name: LOG_LEVEL
  value: {{ .Values.proxy.logLevel | quote }}
- name: LOG_FORMAT
  value: {{ .Values.proxy.logFormat | quote }}
{{- end }}

{{/* What only a pool of Redis has: what is empty is left to the program. */}}
{{- define "nuthatch.redisEnv" }}
{{- if and .Values.proxy.redis.user (not .Values.redis.password.secret) }}
{{- fail "nuthatch: proxy.redis.user needs a password: name its Secret in redis.password.secret" }}
{{- end }}
- name: REDIS
  value: "true"
{{- if .Values.redis.password.secret }}
- name: REDIS_AUTH_FILE
  value: {{ include "nuthatch.passwordFile" . }}
{{- end }}
{{- with .Values.proxy.redis }}
{{- with .user }}
- name: REDIS_USER
  value: {{ . | quote }}
{{- end }}
- name: REDIS_DB
  value: {{ .database | int | quote }}
- name: CROSS_SHARD
  value: {{ .crossShard | quote }}
- name: ALLOW_KEYS
  value: {{ .allowKeys | quote }}
- name: DEDICATED_CONNECTIONS_MAX
  value: {{ .dedicatedConnectionsMax | int | quote }}
{{- with .moduleCommands }}
- name: MODULE_COMMANDS
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.args" -}}
- --stats-addr={{ .Values.proxy.statsAddress }}
{{- if .Values.config }}
- --conf-file=/etc/nuthatch/nutcracker.yml
{{- end }}
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

{{/* What every container of the proxy mounts, with or without a socket: `config` and the password.
     A kubelet never updates a file that is mounted by itself, so it is the folder. */}}
{{- define "nuthatch.mounts" -}}
{{- if .Values.config }}
- name: nuthatch-config
  mountPath: /etc/nuthatch
  readOnly: true
{{- end }}
{{- include "nuthatch.passwordMount" . }}
{{- end }}

{{- define "nuthatch.mountedVolumes" -}}
{{- if .Values.config }}
- name: nuthatch-config
  configMap:
    name: {{ include "nuthatch.fullname" . }}
{{- end }}
{{- include "nuthatch.passwordVolume" . }}
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
