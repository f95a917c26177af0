{{/* What the pods of this chart have in common. These take the chart's scope as `chart`, the part of
     the values as `values` (central, memcached or redis), and its name as `component`. */}}

{{/* Labels by which a workload finds its pods. */}}
{{- define "nuthatch.podSelector" -}}
{{- include "nuthatch.selectorLabels" .chart }}
app.kubernetes.io/component: {{ .component | quote }}
{{- end }}

{{/* metadata of the pods. `annotations` are those that the chart adds by itself, as YAML. */}}
{{- define "nuthatch.podMetadata" -}}
labels:
  {{- include "nuthatch.podSelector" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (.annotations | default "" | fromYaml) (.values.podAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where pods run. A Deployment's pods are spread among those of their own roll-out (`byHash`): the old
     ones that are about to end don't count. */}}
{{- define "nuthatch.placement" -}}
{{- $ := . -}}
{{- with .values.spreadOver -}}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . | quote }}
    whenUnsatisfiable: {{ ternary "ScheduleAnyway" "DoNotSchedule" $.values.spreadSoftly }}
    {{- if not $.values.spreadSoftly }}
    # Nodes on which no such pod may run don't count, or the pods would wait for them.
    nodeTaintsPolicy: Honor
    {{- end }}
    {{- if $.byHash }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
    labelSelector:
      matchLabels:
        {{- include "nuthatch.podSelector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
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
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Who the pods are: nobody towards the API server, and blind to the Services beside them. Takes their
     `account` and the Secrets of their registry as `pullSecrets`. */}}
{{- define "nuthatch.identity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .account }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Passes Pod Security "restricted", whatever the pod around it says. Takes runAsUser and runAsGroup;
     what is empty is left to the cluster. */}}
{{- define "nuthatch.securityContext" -}}
runAsNonRoot: true
{{- if not (has .runAsUser (list nil "")) }}
runAsUser: {{ .runAsUser | int64 }}
{{- end }}
{{- if not (has .runAsGroup (list nil "")) }}
runAsGroup: {{ .runAsGroup | int64 }}
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
