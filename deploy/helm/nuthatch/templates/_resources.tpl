{{/* CPU, memory and other resources of containers. */}}

{{/* A number as Kubernetes' tools write it. Helm has 134217728 of a file as 1.34217728e+08. */}}
{{- define "nuthatch.number" -}}
{{- regexReplaceAll "[.]?0+$" (printf "%.3f" (float64 .)) "" }}
{{- end }}

{{/* Resources of a container, those of the values over `defaults`. What is null or empty is left out: Helm 4
     forgets a null of a parent chart's own file. */}}
{{- define "nuthatch.resources" -}}
{{- $resources := mergeOverwrite (.defaults | default dict | deepCopy) (.values | default dict | deepCopy) }}
{{- range $kind := list "requests" "limits" }}
{{- $kept := dict }}
{{- range $name, $quantity := get $resources $kind | default dict }}
{{- if not (has $quantity (list nil "")) }}
{{- $_ := set $kept $name (kindIs "string" $quantity | ternary $quantity (include "nuthatch.number" $quantity)) }}
{{- end }}
{{- end }}
{{- if $kept }}
{{ $kind }}:
  {{- range $name, $quantity := $kept }}
  {{ $name }}: {{ $quantity | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Items with their overhead, a read buffer for each connection, and memcached itself. */}}
{{- define "nuthatch.memcachedResources" -}}
{{- with .Values.memcached }}
{{- $memory := printf "%dMi" (add (div (mul .memoryMegabytes 12) 10) (div .connections 64) 16) }}
{{- $defaults := dict "requests" (dict "cpu" .cpu "memory" $memory) "limits" (dict "memory" $memory) }}
{{- include "nuthatch.resources" (dict "defaults" $defaults "values" .resources) | trim }}
{{- end }}
{{- end }}

{{/* Items and connections with what lies between them, the kernel's buffers, and Redis itself. */}}
{{- define "nuthatch.redisResources" -}}
{{- with .Values.redis }}
{{- $memory := printf "%dMi" (add (div (mul .memoryMegabytes 3) 2) (div .connections 64) 16) }}
{{- $defaults := dict "requests" (dict "cpu" .cpu "memory" $memory) "limits" (dict "memory" $memory) }}
{{- include "nuthatch.resources" (dict "defaults" $defaults "values" .resources) | trim }}
{{- end }}
{{- end }}

{{/* A quantity of Kubernetes such as 100m, 1.5Gi or 1e9, as a number. */}}
{{- define "nuthatch.quantity" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 }}
{{- $number := regexFind "^[0-9.]+([eE][-+]?[0-9]+)?" . }}
{{- mulf (float64 $number) (get $units (trimPrefix $number .)) }}
{{- end }}

{{/* Not empty if nothing says how much CPU a container has, as a limit does where there is no request. */}}
{{- define "nuthatch.isWithoutCpu" -}}
{{- $cpu := dig "requests" "cpu" (dig "limits" "cpu" "0" .) . }}
{{- if le (include "nuthatch.quantity" $cpu | float64) 0.0 }}true{{ end }}
{{- end }}

{{- define "nuthatch.checkResources" -}}
{{- $chart := . }}
{{- $all := dict "sidecar.resources" (include "nuthatch.resources" (dict "values" .Values.sidecar.resources)) "central.resources" (include "nuthatch.resources" (dict "values" .Values.central.resources)) "memcached.resources" (include "nuthatch.memcachedResources" .) "redis.resources" (include "nuthatch.redisResources" .) "tests.resources" (include "nuthatch.resources" (dict "defaults" .Values.sidecar.resources "values" (.Values.tests | default dict).resources)) }}
{{- range $place, $text := $all }}
{{- include "nuthatch.checkLimits" (dict "place" $place "resources" (fromYaml $text)) }}
{{- end }}
{{- range $protocol := list "memcached" "redis" }}
{{- $limit := dig "limits" "memory" "" (get $all (printf "%s.resources" $protocol) | fromYaml) }}
{{- $megabytes := (get $chart.Values $protocol).memoryMegabytes | int64 }}
{{- if and $limit (lt (include "nuthatch.quantity" $limit | float64) (mulf $megabytes 1048576.0)) }}
{{- fail (printf "nuthatch: %s.resources: the limit of memory, %s, is less than %s.memoryMegabytes, which is %d: the servers would be killed before they are full, so raise the one or lower the other" $protocol $limit $protocol $megabytes) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A request above its limit is refused by the API server, and so is one for a part of a device. */}}
{{- define "nuthatch.checkLimits" -}}
{{- $place := .place }}
{{- $limits := .resources.limits | default dict }}
{{- range $name, $request := .resources.requests }}
{{- $limit := get $limits $name }}
{{- $isShared := has $name (list "cpu" "memory" "ephemeral-storage") }}
{{- if and (not $isShared) (ne $request $limit) }}
{{- fail (printf "nuthatch: %s: the request of %s, %s, must be its limit as well: set both to the same number" $place $name $request) }}
{{- else if and $limit (gt (include "nuthatch.quantity" $request | float64) (include "nuthatch.quantity" $limit | float64)) }}
{{- fail (printf "nuthatch: %s: the request of %s, %s, is more than its limit, %s: set both" $place $name $request $limit) }}
{{- end }}
{{- end }}
{{- range $name, $limit := $limits }}
{{- $number := include "nuthatch.quantity" $limit | float64 }}
{{- if and (contains "/" $name) (ne $number (floor $number)) }}
{{- fail (printf "nuthatch: %s: the limit of %s, %s, must be a whole number" $place $name $limit) }}
{{- end }}
{{- end }}
{{- end }}
