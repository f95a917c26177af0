{{/* What the proxy needs to read EndpointSlices, with endpointSlices.enabled. The pod's own token stays
     unmounted: the other containers have none. */}}

{{- define "nuthatch.accountMount" }}
{{- if .chart.Values.endpointSlices.enabled }}
- name: {{ .prefix }}-account
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- end }}

{{/* The same files as Kubernetes would mount. The token lives for an hour, and the kubelet renews it. */}}
{{- define "nuthatch.accountVolume" }}
{{- if .chart.Values.endpointSlices.enabled }}
- name: {{ .prefix }}-account
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}
{{- end }}

{{/* The service account of central proxies: the user's, or one that is made for EndpointSlices. */}}
{{- define "nuthatch.centralAccount" -}}
{{- if .Values.central.serviceAccountName }}
{{- .Values.central.serviceAccountName }}
{{- else if .Values.endpointSlices.enabled }}
{{- include "nuthatch.fullname" . }}
{{- end }}
{{- end }}
