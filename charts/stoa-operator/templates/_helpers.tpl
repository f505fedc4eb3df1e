{{/* The chart's name, as the label app.kubernetes.io/name. */}}
{{- define "stoa-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What objects are called: at most 43 characters, so that suffixes fit into 63. */}}
{{- define "stoa-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" }}
{{- else if contains (include "stoa-operator.name" .) .Release.Name }}
{{- .Release.Name | trunc 43 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "stoa-operator.name" .) | trunc 43 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What objects are called that are in no namespace: two operators in one cluster have two of them. */}}
{{- define "stoa-operator.clusterName" -}}
{{- printf "%s-%s" (include "stoa-operator.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "stoa-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "stoa-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "stoa-operator.labels" -}}
{{ include "stoa-operator.selectorLabels" . }}
app.kubernetes.io/part-of: stoa
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "stoa-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "stoa-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Repository without tag or digest: (dict "root" $ "image" .Values.image). */}}
{{- define "stoa-operator.repository" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry }}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .image.repository }}
{{- end }}

{{/* The whole reference of an image: its digest goes before its tag. */}}
{{- define "stoa-operator.imageReference" -}}
{{- $repository := include "stoa-operator.repository" . }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* Namespaces with brokers, as a list in JSON: those of the values, else the release's own. */}}
{{- define "stoa-operator.namespaces" -}}
{{- default (list .Release.Namespace) .Values.watchNamespaces | uniq | toJson }}
{{- end }}

{{/* The namespaces where Secrets are in reach, as a list in JSON. */}}
{{- define "stoa-operator.secretNamespaces" -}}
{{- if .Values.clusterWide }}
{{- concat .Values.watchNamespaces (list .Release.Namespace) | uniq | toJson }}
{{- else }}
{{- include "stoa-operator.namespaces" . }}
{{- end }}
{{- end }}
