{{- define "parley.fullname" -}}
{{- if contains "parley" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-parley" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "parley.secretName" -}}
{{ .Values.secret.name | default (include "parley.fullname" .) }}
{{- end }}

{{- define "parley.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What picks the Pods of one process. Takes a dict of `root` and `name`. */}}
{{- define "parley.selector" -}}
app.kubernetes.io/name: parley
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "parley.labels" -}}
{{ include "parley.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The private ports, by process. */}}
{{- define "parley.ports" -}}
{gateway: 8081, worker: 8083, ingest: 8084, history: 8082}
{{- end }}

{{/* PARLEY_OVERVIEW_URLS: every process of the release. */}}
{{- define "parley.overview" -}}
{{- $name := include "parley.fullname" . }}
{{- $urls := list }}
{{- range $process, $port := include "parley.ports" . | fromYaml }}
{{- $scheme := ternary "https" "http" (and (ne $.Values.internalTls.secretName "") (eq $process "history")) }}
{{- $urls = append $urls (printf "%s://%s-%s-private:%d" $scheme $name $process (int $port)) }}
{{- end }}
{{- join "," $urls }}
{{- end }}
