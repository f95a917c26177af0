{{/* What a container of the proxy has in every mode. What differs is written where it is used:
     the sidecar in _sidecar.tpl, central mode in central/deployment.yaml. */}}

{{/* What concerns the process: a reload changes none of it. "*" is every address of the pod, IPv4 and IPv6. */}}
{{- define "nuthatch.env" -}}
- name: ADMIN_LISTEN
  value: "*:{{ .Values.admin.port }}"
- name: WORKERS
  value: {{ .Values.proxy.workers | quote }}
- name: LOG_LEVEL
  value: {{ .Values.proxy.logLevel | quote }}
- name: LOG_FORMAT
  value: {{ .Values.proxy.logFormat | quote }}
{{- end }}

{{- define "nuthatch.extraEnv" }}
{{- with .Values.proxy.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of the values that are in the file, the one that a reload does not change: as an annotation of
     the pods, so that another number makes new pods. A pod may have two proxies, so the key begins with
     the `container`. */}}
{{- define "nuthatch.startAnnotations" -}}
{{- if not .chart.Values.config -}}
{{ .container }}/server-connections: {{ .chart.Values.proxy.serverConnections | int | quote }}
{{- end }}
{{- end }}

{{- define "nuthatch.args" -}}
- {{ printf "--stats-addr=%s" .Values.proxy.statsAddress | quote }}
- --stats-port={{ .Values.proxy.statsPort | int }}
- --conf-file=/etc/nuthatch/nutcracker.yml
{{- range .Values.proxy.extraArgs }}
- {{ . | quote }}
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

{{/* What every container of the proxy mounts, with or without a socket: its file and the password.
     A kubelet never updates a file that is mounted by itself, so it is the folder: there the proxy
     finds a new file, and reloads. Takes the chart's scope as `chart`, and `prefix`, the first part of the
     volumes' names. */}}
{{- define "nuthatch.mounts" -}}
- name: {{ .prefix }}-config
  mountPath: /etc/nuthatch
  readOnly: true
{{- include "nuthatch.passwordMount" . }}
{{- include "nuthatch.accountMount" . }}
{{- end }}

{{/* The volumes of those mounts. `key` is which file of config.yaml is nutcracker.yml. */}}
{{- define "nuthatch.mountedVolumes" -}}
- name: {{ .prefix }}-config
  configMap:
    name: {{ include "nuthatch.fullname" .chart | quote }}
    items:
      - key: {{ .key }}
        path: nutcracker.yml
{{- include "nuthatch.passwordVolume" . }}
{{- include "nuthatch.accountVolume" . }}
{{- end }}

{{/* The password of Redis servers, for them and for the proxy. */}}
{{- define "nuthatch.passwordFile" -}}
/run/secrets/nuthatch/redis-password
{{- end }}

{{- define "nuthatch.passwordMount" }}
{{- if and (eq .chart.Values.protocol "redis") .chart.Values.redis.password.secret }}
- name: {{ .prefix }}-password
  mountPath: {{ include "nuthatch.passwordFile" . | dir }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "nuthatch.passwordVolume" }}
{{- if and (eq .chart.Values.protocol "redis") .chart.Values.redis.password.secret }}
- name: {{ .prefix }}-password
  secret:
    secretName: {{ .chart.Values.redis.password.secret | quote }}
    items:
      - key: {{ .chart.Values.redis.password.key | quote }}
        path: {{ include "nuthatch.passwordFile" . | base }}
{{- end }}
{{- end }}

{{/* The user of the proxy's containers. */}}
{{- define "nuthatch.proxySecurityContext" -}}
{{- include "nuthatch.securityContext" (dict "runAsUser" .Values.proxy.runAsUser "runAsGroup" .Values.proxy.runAsGroup) }}
{{- end }}
