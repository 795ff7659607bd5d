{{- /* What all components' pods say about where and as whom they run. In: root, component. */ -}}
{{- define "netcheck.podPlace" -}}
{{- $own := get .root.Values .component -}}
serviceAccountName: {{ include "netcheck.serviceAccountName" . }}
{{- /* Variables such as NETCHECK_HUB_PORT, which the cluster derives from a Service's name, would look like flags. */}}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priority | default $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Labels and annotations of a component's pods; none that a new chart changes, for that would restart them. */ -}}
{{- define "netcheck.podMetadata" -}}
{{- $own := get .root.Values .component -}}
{{- $labels := include "netcheck.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "netcheck" -}}
labels: {{- merge $labels $own.podLabels .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with $own.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "netcheck.containerImage" -}}
image: {{ include "netcheck.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- /* DaemonSets' PriorityClass: their own, or the chart's if it makes one. In: root, component. */ -}}
{{- define "netcheck.nodePriority" -}}
{{- $own := get .root.Values .component -}}
{{- if $own.priorityClassName -}}
{{- $own.priorityClassName -}}
{{- else if .root.Values.priorityClass.create -}}
{{- include "netcheck.priorityClassName" .root -}}
{{- end -}}
{{- end -}}
