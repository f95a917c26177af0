{{/* With an autoscaler, the number that runs now, which an upgrade must not lower. Without a cluster to
     look at, the least number that was asked for. */}}
{{- define "nuthatch.centralReplicas" -}}
{{- $replicas := int .Values.central.replicas }}
{{- if .Values.central.autoscaling.enabled }}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "nuthatch.fullname" .) }}
{{- $replicas = dig "spec" "replicas" $replicas ($live | default dict) | int | max $replicas | min (int .Values.central.autoscaling.maxReplicas) }}
{{- end }}
{{- $replicas }}
{{- end }}
