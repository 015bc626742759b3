{{- define "chroma-edge.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "chroma-edge.labels" -}}
app.kubernetes.io/name: chroma-edge
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "chroma-edge.selector" -}}
app.kubernetes.io/name: chroma-edge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The configuration file: that of the values, with the instances and the journal. */}}
{{- define "chroma-edge.config" -}}
{{- $name := include "chroma-edge.name" . -}}
{{- $instances := .Values.instances -}}
{{- if .Values.chroma.enabled -}}
{{- $instances = list (dict "name" "primary" "url" (printf "http://%s-chroma-0.%s-chroma:8000" $name $name)) (dict "name" "replica" "url" (printf "http://%s-chroma-1.%s-chroma:8000" $name $name)) -}}
{{- else if not $instances -}}
{{- fail "chroma.enabled is false: name the servers under instances" -}}
{{- end -}}
{{- $edge := dict "listen" "0.0.0.0:8000" "instances" $instances -}}
{{- if not .Values.journal.databaseUrlSecret -}}
{{- $_ := set $edge "journal" (dict "path" "/var/lib/chroma-edge/data/journal.db") -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .Values.config) (dict "edge" $edge) | toYaml -}}
{{- end -}}
