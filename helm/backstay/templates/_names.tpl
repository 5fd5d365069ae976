{{- define "backstay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains "backstay" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-backstay" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What the chart's own Deployment and Service select. */ -}}
{{- define "backstay.selectorLabels" -}}
app.kubernetes.io/name: backstay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "backstay.labels" -}}
{{ include "backstay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* On every pod that carries this release's sidecar, in whose chart it may be: monitors and policies select it. */ -}}
{{- define "backstay.podLabels" -}}
backstay.dev/sidecar: {{ include "backstay.fullname" . }}
{{- end -}}

{{- define "backstay.podAnnotations" -}}
backstay.dev/config: {{ include "backstay.config" . | sha256sum }}
{{- if eq .Values.monitoring.scrape "annotations" }}
prometheus.io/scrape: "true"
prometheus.io/path: /metrics
prometheus.io/port: {{ .Values.sidecar.adminPort | quote }}
{{- end }}
{{- end -}}

{{- define "backstay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}
