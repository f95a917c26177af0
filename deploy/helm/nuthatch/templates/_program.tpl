{{/* What the programs would refuse. A proxy that starts with a wrong nutcracker.yml ends, and one that runs goes
     on with the old file; a server with a wrong argument does not start. */}}

{{- define "nuthatch.checkProgram" -}}
{{- include "nuthatch.checkItems" . }}
{{- if include "nuthatch.isFileMade" . }}
{{- include "nuthatch.checkSizes" . }}
{{- include "nuthatch.checkTimes" . }}
{{- include "nuthatch.checkFailures" . }}
{{- include "nuthatch.checkModules" . }}
{{- include "nuthatch.checkEntries" . }}
{{- include "nuthatch.checkConnections" . }}
{{- end }}
{{- end }}

{{/* A size such as 64k, in kilobytes. */}}
{{- define "nuthatch.kilobytes" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "k" 1 "m" 1024 "g" 1048576) (trunc -1 .)) }}
{{- end }}

{{/* A time such as 10m, in milliseconds. */}}
{{- define "nuthatch.milliseconds" -}}
{{- $number := regexFind "^[0-9]+" . }}
{{- mul $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) (trimPrefix $number .)) }}
{{- end }}

{{- define "nuthatch.checkSizes" -}}
{{- $limits := .Values.proxy.limits | default dict }}
{{- range $limit, $most := dict "itemSizeMax" "1g" "lineMax" "1g" "clientBufferMax" "1g" "clientBacklogMax" "16g" "serverBufferMax" "16g" "memoryMax" "1024g" "journalMax" "1g" }}
{{- $size := get $limits $limit | default "" }}
{{- if and $size (ne $size "0") (gt (include "nuthatch.kilobytes" $size | int64) (include "nuthatch.kilobytes" $most | int64)) }}
{{- fail (printf "nuthatch: proxy.limits.%s is %s, more than the proxy accepts: at most %s" $limit $size $most) }}
{{- end }}
{{- end }}
{{- /* The program's defaults, where a value is empty. */}}
{{- $buffer := $limits.clientBufferMax | default "1m" }}
{{- $backlog := $limits.clientBacklogMax | default "128m" }}
{{- if lt (include "nuthatch.kilobytes" $backlog | int64) (include "nuthatch.kilobytes" $buffer | int64) }}
{{- fail (printf "nuthatch: proxy.limits.clientBacklogMax is %s, less than clientBufferMax, which is %s: raise the one or lower the other" $backlog $buffer) }}
{{- end }}
{{- $servers := ternary .Values.memcached.itemSizeMax "" (and .Values.memcached.enabled (eq .Values.protocol "memcached")) }}
{{- if and $limits.itemSizeMax $servers (lt (include "nuthatch.kilobytes" $limits.itemSizeMax | int64) (include "nuthatch.kilobytes" $servers | int64)) }}
{{- fail "nuthatch: proxy.limits.itemSizeMax is less than memcached.itemSizeMax, so the proxy would refuse what the servers take: raise the one or lower the other" }}
{{- end }}
{{- end }}

{{/* memcached cuts large items into pieces of half a megabyte, unless it is told another size. */}}
{{- define "nuthatch.checkItems" -}}
{{- with .Values.memcached }}
{{- if and .enabled (eq $.Values.protocol "memcached") }}
{{- $kilobytes := include "nuthatch.kilobytes" .itemSizeMax | int64 }}
{{- if gt $kilobytes (mul .memoryMegabytes 512) }}
{{- fail (printf "nuthatch: memcached.itemSizeMax is %s, more than memcached accepts, half of its memory: raise memcached.memoryMegabytes, which is %d, or lower itemSizeMax" .itemSizeMax (int64 .memoryMegabytes)) }}
{{- else if gt $kilobytes 1048576 }}
{{- fail (printf "nuthatch: memcached.itemSizeMax is %s, more than memcached accepts: at most 1024m" .itemSizeMax) }}
{{- else if and (mod $kilobytes 512) (not (contains "slab_chunk_max" (join " " .extraArgs))) }}
{{- fail (printf "nuthatch: memcached.itemSizeMax is %s, and memcached accepts multiples of 512k only: choose one, such as %dk" .itemSizeMax (mul 512 (add 1 (div $kilobytes 512)))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A request without a time could be at the old server for ever. */}}
{{- define "nuthatch.checkTimes" -}}
{{- $year := 31536000000 }}
{{- range $part := list "window" "settle" }}
{{- $time := get $.Values.proxy.migrate $part | default "" }}
{{- if and $time (gt (include "nuthatch.milliseconds" $time | int64) ($year | int64)) }}
{{- fail (printf "nuthatch: proxy.migrate.%s is %s, more than the proxy accepts: at most 365d" $part $time) }}
{{- end }}
{{- end }}
{{- with .Values.proxy.serverSlowStart }}
{{- if gt (include "nuthatch.milliseconds" . | int64) ($year | int64) }}
{{- fail (printf "nuthatch: proxy.serverSlowStart is %s, more than the proxy accepts: at most 365d" .) }}
{{- end }}
{{- end }}
{{- if and .Values.proxy.migrate.window (le (int .Values.proxy.timeout) 0) }}
{{- fail (printf "nuthatch: proxy.migrate.window needs a proxy.timeout, which is %d: set the milliseconds that a server may take to answer" (int .Values.proxy.timeout)) }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkFailures" -}}
{{- with .Values.proxy }}
{{- if and (eq (.onJournalFull | default "") "flush") (not .allowFlush) }}
{{- fail "nuthatch: proxy.onJournalFull is flush, and proxy.allowFlush is false: set allowFlush to true, or onJournalFull to stay" }}
{{- end }}
{{- if and .onServerFailure (le (int .timeout) 0) }}
{{- fail (printf "nuthatch: proxy.onServerFailure needs a proxy.timeout, which is %d: without it, a server that hangs never fails" (int .timeout)) }}
{{- end }}
{{- if eq (.onServerFailure | default "") "gutter" }}
{{- if eq .distribution "random" }}
{{- fail "nuthatch: proxy.onServerFailure is gutter, and proxy.distribution is random, which draws a server for each request: choose another distribution, such as ketama" }}
{{- else if not (dig "servers" list (.gutter | default dict)) }}
{{- fail "nuthatch: proxy.onServerFailure is gutter, and there are no gutter servers: list them in proxy.gutter.servers, or choose another mode" }}
{{- end }}
{{- with dig "ttl" "" .gutter }}
{{- $milliseconds := include "nuthatch.milliseconds" . | int64 }}
{{- if or (lt $milliseconds (int64 1000)) (gt $milliseconds (int64 2592000000)) }}
{{- fail (printf "nuthatch: proxy.gutter.ttl is %s, and the proxy accepts 1s to 30d" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The numbers of a command's keys, as COMMAND INFO prints them: none, or from a first to a last. */}}
{{- define "nuthatch.checkModules" -}}
{{- $names := list }}
{{- range .Values.proxy.redis.moduleCommands }}
{{- $words := splitList " " . }}
{{- $name := index $words 0 | lower }}
{{- $first := index $words 1 | int64 }}
{{- $last := index $words 2 | int64 }}
{{- $step := index $words 3 | int64 }}
{{- if has $name $names }}
{{- fail (printf "nuthatch: proxy.redis.moduleCommands has %s twice: remove one" $name) }}
{{- else if and $first (or (lt $step 1) (and (ge $last 0) (lt $last $first))) }}
{{- fail (printf "nuthatch: proxy.redis.moduleCommands has %s, whose last key is before its first, or whose step is 0: write the numbers as COMMAND INFO prints them, such as cl.throttle 1 1 1" .) }}
{{- else if gt (max $first $last $step -32768) 32767 }}
{{- fail (printf "nuthatch: proxy.redis.moduleCommands has %s, with a number beyond 32767" .) }}
{{- end }}
{{- $names = append $names $name }}
{{- end }}
{{- end }}

{{/* Whether an entry of `servers` has a weight. A port of Kubernetes may be a name. */}}
{{- define "nuthatch.isWeighted" -}}
{{- regexMatch "^dnssrv.*:[0-9]+$|^k8s[+][^:]+:[^:]+:[0-9]+$|:[0-9]+:[0-9]+$" . }}
{{- end }}

{{/* No two servers may have one name, and none may be in the gutter as well. */}}
{{- define "nuthatch.checkEntries" -}}
{{- $known := dict }}
{{- $own := get .Values .Values.protocol }}
{{- $lists := list (dict "value" "servers" "entries" .Values.servers) }}
{{- if eq (.Values.proxy.onServerFailure | default "") "gutter" }}
{{- if and $own.enabled (eq .Values.proxy.discovery "list") }}
{{- $lists = list (dict "value" "servers" "entries" (include "nuthatch.servers" . | fromYamlArray)) }}
{{- end }}
{{- $lists = append $lists (dict "value" "proxy.gutter.servers" "entries" .Values.proxy.gutter.servers) }}
{{- end }}
{{- range $lists }}
{{- $value := .value }}
{{- $weights := 0 }}
{{- range .entries }}
{{- $weights = include "nuthatch.checkEntry" (dict "value" $value "entry" . "known" $known) | int64 | add $weights }}
{{- end }}
{{- if gt $weights 4294967295 }}
{{- fail (printf "nuthatch: the sum of the weights in %s, %d, is beyond 4294967295: divide all by the same number" $value $weights) }}
{{- end }}
{{- end }}
{{- end }}

{{/* An `entry` of a `value`, beside those that are `known`, by name and by address. Its weight. A server is
     known by its name, or else by its host, with the port if this is not 11211. */}}
{{- define "nuthatch.checkEntry" -}}
{{- $words := splitn " " 2 .entry }}
{{- $isWeighted := include "nuthatch.isWeighted" $words._0 | eq "true" }}
{{- $weight := ternary (regexFind "[0-9]+$" $words._0) "1" $isWeighted }}
{{- $place := ternary (regexReplaceAll ":[0-9]+$" $words._0 "") $words._0 $isWeighted }}
{{- $port := regexFind "[0-9]+$" $place }}
{{- $host := regexReplaceAll ":[0-9]+$" $place "" }}
{{- $isFound := regexMatch "^(dns|dnssrv|dnssrvnoa|k8s)[+]" $place }}
{{- $isOfTheGutter := ne .value "servers" }}
{{- if and $isFound $isOfTheGutter }}
{{- fail (printf "nuthatch: %s has %s, and a gutter takes no servers from DNS or Kubernetes: list each as host:port" .value .entry) }}
{{- else if and (contains ":" $host) (not (hasPrefix "[" $host)) (not $isFound) }}
{{- fail (printf "nuthatch: %s has %s, in which the end of the address can't be told: write an IPv6 address in brackets, as [fd00::1]:11211" .value .entry) }}
{{- else if and $isFound $words._1 }}
{{- fail (printf "nuthatch: %s has %s, and servers from DNS or Kubernetes have names of their own: remove the name" .value .entry) }}
{{- else if or (gt (len $port) 5) (gt ($port | default "1" | int64) 65535) }}
{{- fail (printf "nuthatch: %s has %s, with a port beyond 65535" .value .entry) }}
{{- else if or (gt (len $weight) 10) (gt (int64 $weight) 2147483647) }}
{{- fail (printf "nuthatch: %s has %s, with a weight beyond 2147483647" .value .entry) }}
{{- end }}
{{- $name := $words._1 | default (ternary $host $place (and (eq $port "11211") (not $isFound))) | trimPrefix "[" | replace "]" "" }}
{{- $other := get .known (printf "name %s" $name) | default (ternary (get .known (printf "address %s" $place)) "" $isOfTheGutter) }}
{{- if and $other (ne $other .value) }}
{{- fail (printf "nuthatch: %s has %s, which is one of the servers that the proxy uses all the time: when it fails, its keys need another server, so remove it" .value .entry) }}
{{- else if hasKey .known (printf "name %s" $name) }}
{{- fail (printf "nuthatch: %s has two with the name %s: remove one, or give them different names, as host:port:weight name" .value $name) }}
{{- end }}
{{- $_ := set .known (printf "name %s" $name) .value }}
{{- $_ := set .known (printf "address %s" $place) .value }}
{{- $weight }}
{{- end }}

{{- define "nuthatch.checkConnections" -}}
{{- $own := get .Values .Values.protocol }}
{{- $servers := ternary (int $own.replicas) (len (.Values.servers | default list)) $own.enabled }}
{{- $proxy := .Values.proxy }}
{{- if eq ($proxy.onServerFailure | default "") "gutter" }}
{{- $servers = add $servers (len $proxy.gutter.servers) }}
{{- end }}
{{- $each := mul $servers $proxy.serverConnections | int64 }}
{{- if eq .Values.protocol "redis" }}
{{- $each = add (mul 2 $each) $proxy.redis.dedicatedConnectionsMax }}
{{- end }}
{{- $workers := kindIs "string" $proxy.workers | ternary 1 $proxy.workers | int64 }}
{{- $all := mul $workers $each }}
{{- if gt $all 1048576 }}
{{- fail (printf "nuthatch: a proxy would have %d connections, to %d servers, more than it can have, 1048576: lower proxy.serverConnections, proxy.workers or, with redis, proxy.redis.dedicatedConnectionsMax" $all $servers) }}
{{- end }}
{{- end }}
