{{/* What the pods of this chart have in common. These take the chart's scope as `chart` and the
     part of the values as `values`: central, memcached or redis. */}}

{{/* Where pods run. The chart knows their labels, so values name no more than the nodes' labels. */}}
{{- define "nuthatch.placement" -}}
{{- $ := . -}}
{{- with .values.spreadOver -}}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ ternary "ScheduleAnyway" "DoNotSchedule" $.values.spreadSoftly }}
    labelSelector:
      matchLabels:
        {{- include "nuthatch.selectorLabels" $.chart | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
  {{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Who the pods are: nobody towards the API server, and blind to the Services beside them. */}}
{{- define "nuthatch.identity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .chart.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
