{{- define "stoa.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The broker's name: at most 40 characters, so that what is named after it fits into 63. */}}
{{- define "stoa.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if or .Values.nameOverride (eq .Release.Name "stoa") }}
{{- include "stoa.name" . }}
{{- else }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "stoa.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: stoa
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* TLS of listeners that have none of their own, as JSON; {} if the values name neither issuer nor Secret. */}}
{{- define "stoa.tls" -}}
{{- $tls := dict }}
{{- with .Values.tls }}
{{- if and .issuerRef .secretName }}
{{- fail "tls.issuerRef and tls.secretName exclude each other: an issuer makes a Secret of its own" }}
{{- end }}
{{- if .issuerRef }}
{{- $_ := set $tls "issuerRef" .issuerRef }}
{{- with .dnsNames }}
{{- $_ := set $tls "dnsNames" . }}
{{- end }}
{{- else if .secretName }}
{{- $_ := set $tls "secretRef" (dict "name" .secretName) }}
{{- end }}
{{- end }}
{{- toJson $tls }}
{{- end }}

{{/* The listeners with their TLS, as a list in JSON. */}}
{{- define "stoa.listeners" -}}
{{- $shared := include "stoa.tls" . | fromJson }}
{{- $listeners := list }}
{{- range $listener := .Values.listeners }}
{{- if or (hasKey $listener "tls") $listener.allowPlaintext }}
{{- $listeners = append $listeners $listener }}
{{- else if $shared }}
{{- $listeners = append $listeners (merge (dict "tls" $shared) $listener) }}
{{- else }}
{{- fail (printf "listener %s has no certificate: name tls.issuerRef (an issuer of cert-manager) or tls.secretName, or give it allowPlaintext: true" $listener.name) }}
{{- end }}
{{- end }}
{{- toJson $listeners }}
{{- end }}

{{/* spec.sessionStore, as JSON. */}}
{{- define "stoa.store" -}}
{{- $store := dict }}
{{- with .Values.store }}
{{- if eq .type "Redis" }}
{{- $redis := deepCopy .redis }}
{{- if .existingSecret }}
{{- $_ := set $redis "credentialsRef" (dict "name" .existingSecret "usernameKey" "username" "passwordKey" "password") }}
{{- end }}
{{- if .operatorExistingSecret }}
{{- $_ := set $redis "operatorCredentialsRef" (dict "name" .operatorExistingSecret "usernameKey" "username" "passwordKey" "password") }}
{{- end }}
{{- $_ := set $store "redis" $redis }}
{{- else }}
{{- $_ := set $store (lower .type) (dict "storage" .storage) }}
{{- end }}
{{- with .durability }}
{{- $_ := set $store "durability" . }}
{{- end }}
{{- end }}
{{- toJson $store }}
{{- end }}

{{/* The name of the listener that the test connects to; empty if none has TLS. */}}
{{- define "stoa.testListener" -}}
{{- $found := .Values.tests.listener }}
{{- range $listener := include "stoa.listeners" . | fromJsonArray }}
{{- if and (not $found) (hasKey $listener "tls") (ne (default "MQTT" $listener.protocol) "WebSocket") }}
{{- $found = $listener.name }}
{{- end }}
{{- end }}
{{- $found }}
{{- end }}

{{- define "stoa.testImage" -}}
{{- with .Values.tests.image }}
{{- $registry := default .registry $.Values.global.imageRegistry }}
{{- $repository := ternary (printf "%s/%s" $registry .repository) .repository (ne $registry "") }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}
