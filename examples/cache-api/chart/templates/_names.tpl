{{- define "cache-api.selectorLabels" -}}
app.kubernetes.io/name: cache-api
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "cache-api.labels" -}}
{{ include "cache-api.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cache-api.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "cache-api.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The chart's own objects have fixed names, which those of the cache must not have. */}}
{{- define "cache-api.check" -}}
{{- $cache := .Subcharts.nuthatch }}
{{- $names := list }}
{{- if .Values.nuthatch.central.enabled }}
{{- $names = append $names (include "nuthatch.fullname" $cache) }}
{{- end }}
{{- if (get .Values.nuthatch .Values.nuthatch.protocol).enabled }}
{{- $names = append $names (include "nuthatch.serversName" $cache) }}
{{- end }}
{{- if has "cache-api" $names }}
{{- fail "cache-api: the application is named cache-api, so the cache can't be: set nuthatch.fullnameOverride, or the fullname of its servers, to another name" }}
{{- end }}
{{- end }}

{{- define "cache-api.securityContext" -}}
runAsNonRoot: true
{{- if not (has .Values.runAsUser (list nil "")) }}
runAsUser: {{ .Values.runAsUser | int64 }}
{{- end }}
{{- if not (has .Values.runAsGroup (list nil "")) }}
runAsGroup: {{ .Values.runAsGroup | int64 }}
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
