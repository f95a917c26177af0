{{/* What an upgrade can't do with objects that are there. Without a cluster to look at, as in `helm template`,
     nothing is found. */}}

{{- define "nuthatch.checkLiving" -}}
{{- $servers := printf "%s.fullname" .Values.protocol }}
{{- if (get .Values .Values.protocol).enabled }}
{{- $name := include "nuthatch.serversName" . }}
{{- include "nuthatch.checkWorkload" (dict "chart" . "kind" "StatefulSet" "name" $name "component" .Values.protocol "value" $servers) }}
{{- include "nuthatch.checkAddress" (dict "chart" . "name" $name "isHeadless" true "value" $servers) }}
{{- end }}
{{- if .Values.central.enabled }}
{{- $name := include "nuthatch.fullname" . }}
{{- include "nuthatch.checkWorkload" (dict "chart" . "kind" "Deployment" "name" $name "component" "central" "value" "fullnameOverride") }}
{{- include "nuthatch.checkAddress" (dict "chart" . "name" $name "isHeadless" false "value" "fullnameOverride") }}
{{- include "nuthatch.checkLoadBalancer" . }}
{{- end }}
{{- end }}

{{/* Nothing may be told to be deleted that is not the release's own. Takes the object as `living`, and what
     `kind`, `name` and `value` it has its name by. */}}
{{- define "nuthatch.checkOwner" -}}
{{- $metadata := .living.metadata }}
{{- $owner := dig "annotations" "meta.helm.sh/release-name" "" $metadata | default (dig "labels" "app.kubernetes.io/instance" "" $metadata) }}
{{- if ne $owner .chart.Release.Name }}
{{- fail (printf "nuthatch: there is a %s %s already, which %s: set %s to another name" .kind .name (ternary (printf "belongs to the release %s" $owner) "belongs to no release" (ne $owner "")) .value) }}
{{- end }}
{{- end }}

{{/* Selectors can't change: the API server would refuse them in the middle of an upgrade. */}}
{{- define "nuthatch.checkWorkload" -}}
{{- with lookup "apps/v1" .kind .chart.Release.Namespace .name }}
{{- include "nuthatch.checkOwner" (dict "chart" $.chart "living" . "kind" $.kind "name" $.name "value" $.value) }}
{{- $labels := dig "spec" "selector" "matchLabels" dict . }}
{{- $wanted := include "nuthatch.podSelector" $ | fromYaml }}
{{- if ne (toJson $labels) (toJson $wanted) }}
{{- $before := get $labels "app.kubernetes.io/component" }}
{{- $kept := eq $before $.component | ternary "leave nameOverride, and an alias of the chart, as they were at the installation" (printf "set %s to another name than that of the pods of %s" $.value $before) }}
{{- fail (printf "nuthatch: the pods of %s %s are found by %s, and Kubernetes can't change this to %s: %s, or delete the %s first" $.kind $.name (toJson $labels) (toJson $wanted) $kept $.kind) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The class of a load balancer can't change. A class that the cluster has set by itself is not the chart's to remove. */}}
{{- define "nuthatch.checkLoadBalancer" -}}
{{- $name := include "nuthatch.fullname" . }}
{{- $living := lookup "v1" "Service" .Release.Namespace $name | default dict }}
{{- $class := dig "spec" "loadBalancerClass" "" $living }}
{{- $wanted := .Values.central.service.loadBalancerClass | default "" }}
{{- if and (eq (dig "spec" "type" "" $living) "LoadBalancer") (eq .Values.central.service.type "LoadBalancer") (ne $class $wanted) }}
{{- $owners := dig "metadata" "managedFields" list $living }}
{{- $isOwn := or $wanted (not $owners) }}
{{- range $owners }}
{{- if and (hasPrefix "helm" (get . "manager" | toString | lower)) (hasKey (dig "fieldsV1" "f:spec" dict .) "f:loadBalancerClass") }}
{{- $isOwn = true }}
{{- end }}
{{- end }}
{{- if $isOwn }}
{{- fail (printf "nuthatch: the load balancer of Service %s has the class %q, and Kubernetes can't change this to %q: leave central.service.loadBalancerClass as it was, or delete the Service first" $name $class $wanted) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whether a Service has an address can't change either. */}}
{{- define "nuthatch.checkAddress" -}}
{{- with lookup "v1" "Service" .chart.Release.Namespace .name }}
{{- include "nuthatch.checkOwner" (dict "chart" $.chart "living" . "kind" "Service" "name" $.name "value" $.value) }}
{{- if ne (eq (dig "spec" "clusterIP" "" .) "None") $.isHeadless }}
{{- fail (printf "nuthatch: there is a Service %s %s an address of its own, and Kubernetes can't change this: set %s to another name, or delete the Service first" $.name (ternary "with" "without" $.isHeadless) $.value) }}
{{- end }}
{{- end }}
{{- end }}
