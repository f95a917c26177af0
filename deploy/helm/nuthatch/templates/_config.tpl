{{/* The ConfigMap of config.yaml: the names of its files, and what the files of users, `config` and
     `central.config`, listen on, which must be where the pods and the Service look for it. */}}

{{/* A file's name says where clients connect to. A pod that runs keeps its file when they are to connect to
     another place: its Service or its application looks for the old one until the pod is replaced. 11211 is
     not in the name, as it was not before. */}}
{{- define "nuthatch.sidecarFile" -}}
{{- include "nuthatch.fileName" (dict "chart" . "name" "nutcracker" "socket" (ternary (include "nuthatch.socketPath" .) "" .Values.sidecar.socket.enabled)) }}
{{- end }}

{{- define "nuthatch.centralFile" -}}
{{- include "nuthatch.fileName" (dict "chart" . "name" "central" "socket" "") }}
{{- end }}

{{- define "nuthatch.fileName" -}}
{{- $port := include "nuthatch.listenPort" .chart }}
{{- .name }}
{{- if or .socket (ne $port "11211") }}-{{ $port }}{{ end }}
{{- if .socket }}-{{ sha256sum .socket | trunc 8 }}{{ end -}}
.yml
{{- end }}

{{/* If an upgrade gives one of the `files` another name: what pods that start meanwhile under the old one need,
     as a map in JSON. Without it, as in `helm template`, those that run keep theirs all the same. */}}
{{- define "nuthatch.filesOfBefore" -}}
{{- $found := dict }}
{{- $living := lookup "v1" "ConfigMap" .chart.Release.Namespace (include "nuthatch.fullname" .chart) | default dict }}
{{- $data := dig "data" dict $living }}
{{- range $name, $_ := .files }}
{{- if not (hasKey $data $name) }}
{{- $mode := regexFind "^[a-z]+" $name }}
{{- range $before, $text := $data }}
{{- if regexMatch (printf "^%s(-.*)?[.]yml$" $mode) $before }}
{{- $_ := set $found $before $text }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{/* The first alias of a YAML file, or merge key: a star or << where a value or a key begins, not in quotes and
     not in a comment. */}}
{{- define "nuthatch.firstAlias" -}}
{{- $plain := regexReplaceAll `(?m)(^|[\s:,\[{-])("(\\.|[^"\\])*"|'[^']*'|#.*$)` . "${1}_" }}
{{- regexFind `(?m)(^[ \t]*|[:?-][ \t]+|[\[{,][ \t]*)(\*[^\s,\[\]{}]*|<<[ \t]*:)` $plain | regexFind `(\*|<<).*` }}
{{- end }}

{{/* The addresses of a nutcracker.yml, as a list in JSON. Takes the `text`, and the value's `name`. */}}
{{- define "nuthatch.listeners" -}}
{{- with include "nuthatch.firstAlias" .text }}
{{- fail (printf "nuthatch: %s has %s, and the proxy takes no aliases or merge keys of YAML: write the value itself, in quotes if it begins with a star, as \"*:11211\"" $.name .) }}
{{- end }}
{{- $file := fromYaml .text }}
{{- $found := list }}
{{- $documents := regexSplit "(?m)^---([ \\t]|$)" (regexReplaceAll "(?m)^([ \\t]*|%.*)(#.*)?$\\n?" .text "" | trimPrefix "---") -1 }}
{{- if gt (len $documents) 1 }}
{{- fail (printf "nuthatch: %s has more than one document: remove the lines --- and what is not for the proxy" .name) }}
{{- /* What is no YAML is a text here, a pool of this name a map. */}}
{{- else if kindIs "string" $file.Error }}
{{- fail (printf "nuthatch: %s is no YAML: %s" .name $file.Error) }}
{{- end }}
{{- range $pool, $settings := $file }}
{{- if not (kindIs "map" $settings) }}
{{- fail (printf "nuthatch: %s: pool %s has no settings: indent them below its name" $.name $pool) }}
{{- end }}
{{- range (kindIs "slice" $settings.listen | ternary $settings.listen (list $settings.listen)) }}
{{- $found = append $found (toString .) }}
{{- end }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{/* The host and the port of an address, as a map in JSON: no host is every host, no port a socket. */}}
{{- define "nuthatch.address" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" | replace "localhost" "127.0.0.1" }}
{{- $host = has $host (list "*" "0" "0.0.0.0" "::") | ternary "" $host }}
{{- dict "host" $host "port" (hasPrefix "/" . | ternary "" (regexFind "[0-9]+$" .)) "text" . | toJson }}
{{- end }}

{{/* Not empty if no two programs can listen on `one` and `two`. */}}
{{- define "nuthatch.isSame" -}}
{{- if and .one.port (eq .one.port .two.port) (or (eq .one.host .two.host) (not .one.host) (not .two.host)) }}true{{ end }}
{{- end }}

{{/* The `listeners` of a file, called `name`: no two of one port, and none where the proxy listens by itself. */}}
{{- define "nuthatch.checkListeners" -}}
{{- $file := .name }}
{{- $stats := printf "%s:%d" .chart.Values.proxy.statsAddress (int .chart.Values.proxy.statsPort) }}
{{- $stats = hasPrefix "/" .chart.Values.proxy.statsAddress | ternary "/" $stats }}
{{- $others := dict "admin.port" (printf "*:%d" (int .chart.Values.admin.port)) "proxy.statsPort" $stats }}
{{- $before := list }}
{{- range .listeners }}
{{- $own := include "nuthatch.address" . | fromJson }}
{{- if and (regexMatch "^([0-9.]+|.*:.*)$" $own.host) (not (regexMatch "^(127[.]|::1$)" $own.host)) $own.port }}
{{- fail (printf "nuthatch: %s listens on %s, an address that a pod does not have: use 127.0.0.1, or \"*\" for all addresses of the pod" $file .) }}
{{- end }}
{{- range $value, $text := $others }}
{{- $other := include "nuthatch.address" $text | fromJson }}
{{- if include "nuthatch.isSame" (dict "one" $own "two" $other) }}
{{- fail (printf "nuthatch: %s listens on %s, and the proxy's %s is %s: choose another port in the file, or for %s" $file $own.text $value $other.port $value) }}
{{- end }}
{{- end }}
{{- range $before }}
{{- if include "nuthatch.isSame" (dict "one" $own "two" .) }}
{{- fail (printf "nuthatch: %s listens on %s and on %s, which are one port: give each pool its own" $file .text $own.text) }}
{{- end }}
{{- end }}
{{- $before = append $before $own }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkConfig" -}}
{{- if and .Values.config .Values.sidecar.enabled }}
{{- include "nuthatch.checkSidecarConfig" . }}
{{- end }}
{{- if and .Values.central.enabled (include "nuthatch.centralConfig" .) }}
{{- include "nuthatch.checkCentralConfig" . }}
{{- end }}
{{- end }}

{{/* The application connects to the port on loopback, or to the socket. */}}
{{- define "nuthatch.checkSidecarConfig" -}}
{{- $port := include "nuthatch.listenPort" . }}
{{- $socket := ternary (include "nuthatch.socketPath" .) "" .Values.sidecar.socket.enabled }}
{{- $sockets := list }}
{{- $isReached := false }}
{{- $listeners := include "nuthatch.listeners" (dict "text" .Values.config "name" "config") | fromJsonArray }}
{{- include "nuthatch.checkListeners" (dict "chart" . "name" "config" "listeners" $listeners) }}
{{- range $listeners }}
{{- if hasPrefix "/" . }}
{{- $sockets = append $sockets (splitList " " . | first) }}
{{- else if regexMatch (printf `^(127\.(0\.0\.|0\.)?1|localhost|0|0\.0\.0\.0|\*|\[::\]):%s$` $port) . }}
{{- $isReached = true }}
{{- end }}
{{- end }}
{{- if not $isReached }}
{{- fail (printf "nuthatch: config listens nowhere on port %s, where the application looks for the sidecar: let a pool listen on 127.0.0.1:%s, or set proxy.port to the port of the file" $port $port) }}
{{- end }}
{{- range $sockets }}
{{- if ne (dir .) (dir $socket) }}
{{- fail (printf "nuthatch: config listens on %s, and the sidecar has no such folder: set sidecar.socket.enabled to true and sidecar.socket.path to %s, or remove the socket" . .) }}
{{- end }}
{{- end }}
{{- if and $socket (not (has $socket $sockets)) }}
{{- fail (printf "nuthatch: sidecar.socket.enabled is true, and config does not listen on %s: add it to listen of a pool, or set sidecar.socket.path to the path of the file" $socket) }}
{{- end }}
{{- end }}

{{/* The Service leads to the pods' port, and there is no volume for a socket. */}}
{{- define "nuthatch.checkCentralConfig" -}}
{{- $port := include "nuthatch.listenPort" . }}
{{- $name := ternary "central.config" "config" (ne (.Values.central.config | default "") "") }}
{{- $isReached := false }}
{{- $listeners := include "nuthatch.listeners" (dict "text" (include "nuthatch.centralConfig" .) "name" $name) | fromJsonArray }}
{{- include "nuthatch.checkListeners" (dict "chart" . "name" $name "listeners" $listeners) }}
{{- range $listeners }}
{{- if hasPrefix "/" . }}
{{- fail (printf "nuthatch: %s listens on the socket %s, which central proxies have no folder for: give them a file of their own in central.config" $name .) }}
{{- else if has . (list (printf "*:%s" $port) (printf "0:%s" $port) (printf "0.0.0.0:%s" $port) (printf "[::]:%s" $port)) }}
{{- $isReached = true }}
{{- end }}
{{- end }}
{{- if not $isReached }}
{{- fail (printf "nuthatch: %s does not listen on port %s of the pods' own address, where the Service of the central proxies leads: let a pool listen on \"*:%s\"; sidecars that need another address have the file in config, central proxies in central.config" $name $port $port) }}
{{- end }}
{{- end }}

{{/* The user's file for central mode; nothing if the values make it. */}}
{{- define "nuthatch.centralConfig" -}}
{{- .Values.central.config | default .Values.config }}
{{- end }}
