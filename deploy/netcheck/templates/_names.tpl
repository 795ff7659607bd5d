{{- define "netcheck.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Names of components are at most 12 characters longer; a Service's must not exceed 63. */ -}}
{{- define "netcheck.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "netcheck.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "netcheck.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Cluster-wide objects carry the namespace, for several releases may have one name. */ -}}
{{- define "netcheck.clusterName" -}}
{{- if eq .Release.Namespace (include "netcheck.fullname" .) -}}
{{- include "netcheck.fullname" . -}}
{{- else -}}
{{- printf "%s-%s" .Release.Namespace (include "netcheck.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "netcheck.hubNamespace" -}}
{{- default .Release.Namespace .Values.hub.namespace -}}
{{- end -}}

{{- /* Labels of an object. In: root, component; optionally extra. Nobody's labels take the place of the chart's. */ -}}
{{- define "netcheck.labels" -}}
{{- $labels := include "netcheck.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "netcheck" -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- merge $labels (.extra | default dict) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- /* What of them never changes. */ -}}
{{- define "netcheck.selector" -}}
app.kubernetes.io/name: {{ include "netcheck.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "netcheck.serviceAccountName" -}}
{{- $own := get .root.Values .component -}}
{{- if $own.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "netcheck.fullname" .root) .component) $own.serviceAccount.name -}}
{{- else -}}
{{- default "default" $own.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* A component's ServiceAccount. In: root, component, namespace. */ -}}
{{- define "netcheck.serviceAccount" -}}
{{- $own := get .root.Values .component -}}
{{- if $own.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "netcheck.serviceAccountName" . }}
  namespace: {{ .namespace }}
  labels: {{- include "netcheck.labels" . | nindent 4 }}
  {{- with $own.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{- define "netcheck.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "netcheck.priorityClassName" -}}
{{- default (printf "%s-node" (include "netcheck.clusterName" .)) .Values.priorityClass.name -}}
{{- end -}}

{{- /* Where agents and readers find the hub. */ -}}
{{- define "netcheck.hubHost" -}}
{{- printf "%s-hub.%s.svc" (include "netcheck.fullname" .) (include "netcheck.hubNamespace" .) -}}
{{- end -}}

{{- define "netcheck.hubUrl" -}}
{{- printf "%s://%s:%d" (ternary "http" "https" (eq .Values.tls.mode "none")) (include "netcheck.hubHost" .) (int .Values.hub.service.port) -}}
{{- end -}}

{{- /* The same in the hub's own pod. Whoever listens on all addresses is on 127.0.0.1 as well, under IPv6 alone, too. */ -}}
{{- define "netcheck.hubOwnUrl" -}}
{{- $listen := .Values.hub.listenAddress -}}
{{- $host := ternary "127.0.0.1" $listen (has $listen (list "0.0.0.0" "[::]")) -}}
{{- printf "%s://%s:7070" (ternary "http" "https" (eq .Values.tls.mode "none")) $host -}}
{{- end -}}

{{- /* A volume's path can't be changed, so another path is another volume. */ -}}
{{- define "netcheck.socketClaim" -}}
{{- printf "%s-vantage-%s" (include "netcheck.fullname" .) (sha256sum .Values.agent.socketDir | trunc 8) -}}
{{- end -}}
