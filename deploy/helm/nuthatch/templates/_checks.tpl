{{/* What the schema can't say: values that contradict each other. All are refused before an object is
     made, with words that say what would be right. config.yaml, which is always made, includes this. */}}

{{- define "nuthatch.checks" -}}
{{- include "nuthatch.checkServers" . }}
{{- include "nuthatch.checkDiscovery" . }}
{{- include "nuthatch.checkRedis" . }}
{{- include "nuthatch.checkProgram" . }}
{{- include "nuthatch.checkNames" . }}
{{- include "nuthatch.checkInstances" . }}
{{- include "nuthatch.checkPorts" . }}
{{- include "nuthatch.checkVariables" . }}
{{- include "nuthatch.checkArguments" . }}
{{- include "nuthatch.checkSocket" . }}
{{- include "nuthatch.checkCentral" . }}
{{- include "nuthatch.checkRanges" . }}
{{- include "nuthatch.checkResources" . }}
{{- include "nuthatch.checkConfig" . }}
{{- include "nuthatch.checkLiving" . }}
{{- end }}

{{/* Not empty if the values make a file that a proxy of this release uses. */}}
{{- define "nuthatch.isFileMade" -}}
{{- if not .Values.config }}
{{- if or .Values.sidecar.enabled (and .Values.central.enabled (not .Values.central.config)) (not .Values.central.enabled) }}true{{ end }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkServers" -}}
{{- $protocol := .Values.protocol }}
{{- if include "nuthatch.isFileMade" . }}
{{- if and (get .Values $protocol).enabled .Values.servers }}
{{- fail (printf "nuthatch: servers and %s.enabled contradict each other: set %s.enabled to false to use the servers from outside, or leave servers empty" $protocol $protocol) }}
{{- else if not (or (get .Values $protocol).enabled .Values.servers) }}
{{- fail (printf "nuthatch: there are no servers: list them in servers, or set %s.enabled to true" $protocol) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What does not go together with servers that DNS tells of. */}}
{{- define "nuthatch.checkDiscovery" -}}
{{- $own := get .Values .Values.protocol }}
{{- if and $own.enabled (eq .Values.proxy.discovery "dnssrv") }}
{{- if $own.spare }}
{{- fail (printf "nuthatch: %s.spare and proxy.discovery: dnssrv contradict each other: DNS tells of every pod, so the proxies use spare ones too. Set spare to 0, or discovery to list" .Values.protocol) }}
{{- else if .Values.proxy.migrate.window }}
{{- fail "nuthatch: proxy.migrate.window and proxy.discovery: dnssrv contradict each other: a server leaves DNS when its pod is gone, and keys can move only while it answers. Set discovery to list, or leave window empty" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkRedis" -}}
{{- if and (eq .Values.protocol "redis") .Values.proxy.redis.user (not .Values.redis.password.secret) }}
{{- fail "nuthatch: proxy.redis.user needs a password: name its Secret in redis.password.secret" }}
{{- end }}
{{- end }}

{{/* Two objects of one kind can't have one name. */}}
{{- define "nuthatch.checkNames" -}}
{{- $own := get .Values .Values.protocol }}
{{- if and .Values.central.enabled $own.enabled (eq (include "nuthatch.serversName" .) (include "nuthatch.fullname" .)) }}
{{- fail (printf "nuthatch: the servers and the central proxies would both be named %s: set %s.fullname or fullnameOverride to another name" (include "nuthatch.serversName" .) .Values.protocol) }}
{{- end }}
{{- end }}

{{/* This chart may be in a release more than once, below several charts. Then no two may make one object, or
     find each other's pods. What each of them has is noted in the release, which is one map for all charts.
     A path of templates is a chart's own. */}}
{{- define "nuthatch.checkInstances" -}}
{{- $own := get .Values .Values.protocol }}
{{- $name := include "nuthatch.name" . }}
{{- $made := list (printf "ConfigMap %s" (include "nuthatch.fullname" .)) }}
{{- if $own.enabled }}
{{- $made = concat $made (list (printf "StatefulSet %s" (include "nuthatch.serversName" .)) (printf "pods with the labels name: %s and component: %s" $name .Values.protocol)) }}
{{- end }}
{{- if .Values.central.enabled }}
{{- $made = append $made (printf "pods with the labels name: %s and component: central" $name) }}
{{- end }}
{{- if .Values.podMonitor.enabled }}
{{- $made = append $made (printf "PodMonitors for the pods with %s, so that each proxy is scraped twice" (.Values.podMonitor.selector | default dict | toJson)) }}
{{- end }}
{{- $noted := .Release.nuthatch | default dict }}
{{- range $made }}
{{- if ne (get $noted . | default $.Template.BasePath) $.Template.BasePath }}
{{- $right := ternary "enable podMonitor in one of them only, or let each select other pods in podMonitor.selector" (printf "set nameOverride and %s.fullname in one of them, each to a name of its own, or give its dependency an alias" $.Values.protocol) (hasPrefix "PodMonitors" .) }}
{{- fail (printf "nuthatch: %s and %s would both make %s: %s" (get $noted . | trimSuffix "/templates") ($.Template.BasePath | trimSuffix "/templates") . $right) }}
{{- end }}
{{- $_ := set $noted . $.Template.BasePath }}
{{- end }}
{{- $_ := set .Release "nuthatch" $noted }}
{{- end }}

{{/* All ports of a proxy are in one network, that of its pod. */}}
{{- define "nuthatch.checkPorts" -}}
{{- $ports := dict }}
{{- range $port, $value := dict "proxy.port" (include "nuthatch.listenPort" .) "admin.port" .Values.admin.port "proxy.statsPort" .Values.proxy.statsPort }}
{{- $number := $value | int | toString }}
{{- if hasKey $ports $number }}
{{- fail (printf "nuthatch: %s and %s are both %s, and one proxy listens on both: choose another number for one of them" (get $ports $number) $port $number) }}
{{- end }}
{{- $_ := set $ports $number $port }}
{{- end }}
{{- end }}

{{/* A variable of the chart's can't be given twice. */}}
{{- define "nuthatch.checkVariables" -}}
{{- $own := list }}
{{- range include "nuthatch.env" . | fromYamlArray }}
{{- $own = append $own .name }}
{{- end }}
{{- range $place, $variables := dict "proxy" .Values.proxy.extraEnv "memcached" .Values.memcached.extraEnv "redis" .Values.redis.extraEnv }}
{{- $names := list }}
{{- range $variables }}
{{- if and (eq $place "proxy") (has .name $own) }}
{{- fail (printf "nuthatch: proxy.extraEnv has %s, which the chart sets by itself: use the value for it, see the table of values" .name) }}
{{- else if has .name $names }}
{{- fail (printf "nuthatch: %s.extraEnv has %s twice: remove one" $place .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- end }}

{{/* Further arguments that would replace one of the chart's, or keep a program from serving. The
     proxy takes shortened options, too. */}}
{{- define "nuthatch.checkArguments" -}}
{{- $port := include "nuthatch.knownPort" . }}
{{- $where := printf ": the proxies look for port %s of the pod's own address, so remove it" $port }}
{{- $none := ", with which the %s would not serve: remove it" }}
{{- $use := ": use %s instead" }}
{{- range .Values.proxy.extraArgs }}
{{- $given := . }}
{{- range $option, $value := dict "-s" "proxy.statsPort" "--stats-port" "proxy.statsPort" "-a" "proxy.statsAddress" "--stats-addr" "proxy.statsAddress" "--admin" "admin.port" "-c" "config or central.config" "--conf-file" "config or central.config" "-t" "" "--test-conf" "" "--bind" "" "-d" "" "--daemonize" "" "-D" "" "--describe-stats" "" "-h" "" "-?" "" "--help" "" "-V" "" "--version" "" }}
{{- $isShort := lt (len $option) 3 }}
{{- $word := regexFind "^--[^= ]*" $given }}
{{- if ternary (hasPrefix $option $given) (and $word (hasPrefix $word $option)) $isShort }}
{{- fail (printf "nuthatch: proxy.extraArgs has %s%s" $given (ternary (printf $use $value) (printf $none "proxy") (ne $value ""))) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.protocol "memcached" }}
{{- range .Values.memcached.extraArgs }}
{{- $given := . }}
{{- /* Letters before take no value, so that more follow in the same word. */}}
{{- range $options, $answer := dict "[pls]|--(port|listen|unix-socket)" $where "[dhiV]|--(daemon|help|license|version)" (printf $none "server") "m|--memory-limit" (printf $use "memcached.memoryMegabytes") "c|--conn-limit" (printf $use "memcached.connections") "I|--max-item-size" (printf $use "memcached.itemSizeMax") }}
{{- $words := splitn "|" 2 $options }}
{{- if or (regexMatch (printf "^-[AkvrMLSFCXZW]*%s" $words._0) $given) (regexMatch (printf "^%s(=| |$)" $words._1) $given) }}
{{- fail (printf "nuthatch: memcached.extraArgs has %s%s" $given $answer) }}
{{- end }}
{{- end }}
{{- end }}
{{- else }}
{{- range .Values.redis.extraArgs }}
{{- $given := . }}
{{- range $options, $answer := dict "port|bind" $where "daemonize|help|version|sentinel" (printf $none "server") "maxmemory" (printf $use "redis.memoryMegabytes") "maxclients" (printf $use "redis.connections") "requirepass" (printf $use "redis.password.secret") }}
{{- if regexMatch (printf "^--(%s)(=| |$)" $options) (lower $given) }}
{{- fail (printf "nuthatch: redis.extraArgs has %s%s" $given $answer) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The socket's folder is a volume of its own in both containers, so nothing else may be there. */}}
{{- define "nuthatch.checkSocket" -}}
{{- $path := include "nuthatch.socketPath" . }}
{{- if .Values.sidecar.socket.enabled }}
{{- if ne (clean $path) $path }}
{{- fail (printf "nuthatch: sidecar.socket.path is %s: write it without . and .. as %s" $path (clean $path)) }}
{{- end }}
{{- range list "/etc/nuthatch" "/run/secrets" "/var/run/secrets" "/proc" "/sys" "/dev" }}
{{- if hasPrefix (printf "%s/" .) $path }}
{{- fail (printf "nuthatch: sidecar.socket.path is %s, and the containers have something else in %s: choose a folder that is the socket's alone, such as /run/nuthatch" $path .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkCentral" -}}
{{- with .Values.central }}
{{- if and .service.loadBalancerClass (ne .service.type "LoadBalancer") }}
{{- fail (printf "nuthatch: central.service.loadBalancerClass is for the type LoadBalancer, and central.service.type is %s: change the type, or leave the class empty" .service.type) }}
{{- end }}
{{- range $value, $isNodes := dict "loadBalancerSourceRanges" false "externalTrafficPolicy" true "nodePort" true }}
{{- $types := ternary (list "LoadBalancer" "NodePort") (list "LoadBalancer") $isNodes }}
{{- if and (get $.Values.central.service $value) (not (has $.Values.central.service.type $types)) }}
{{- fail (printf "nuthatch: central.service.%s is for the type %s, and central.service.type is %s: change the type, or leave %s empty" $value (join " or " $types) $.Values.central.service.type $value) }}
{{- end }}
{{- end }}
{{- $needed := get (dict "PreferClose" "1.31" "PreferSameZone" "1.34" "PreferSameNode" "1.34") (.service.trafficDistribution | default "") }}
{{- if and .enabled $needed (not (semverCompare (printf ">=%s-0" ($needed | default "0")) $.Capabilities.KubeVersion.Version)) }}
{{- fail (printf "nuthatch: central.service.trafficDistribution: %s needs Kubernetes %s, and the cluster has %s, which would ignore it: leave it empty" .service.trafficDistribution $needed $.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if and .enabled .autoscaling.enabled }}
{{- if gt (int .replicas) (int .autoscaling.maxReplicas) }}
{{- fail (printf "nuthatch: central.replicas is %d, more than central.autoscaling.maxReplicas, which is %d: raise maxReplicas, lower replicas, or set central.autoscaling.enabled to false" (int .replicas) (int .autoscaling.maxReplicas)) }}
{{- else if include "nuthatch.isWithoutCpu" (include "nuthatch.resources" (dict "values" .resources) | fromYaml) }}
{{- fail "nuthatch: central.autoscaling measures the CPU in percent of the request, so it needs central.resources.requests.cpu: set the request, or set central.autoscaling.enabled to false" }}
{{- end }}
{{- end }}
{{- $surge := .rollingUpdate.maxSurge | toString }}
{{- $unavailable := .rollingUpdate.maxUnavailable | toString }}
{{- if and (has $surge (list "0" "0%")) (has $unavailable (list "0" "0%")) }}
{{- fail "nuthatch: central.rollingUpdate.maxSurge and maxUnavailable are both 0, so no pod could ever be replaced: raise one of them" }}
{{- end }}
{{- end }}
{{- end }}
