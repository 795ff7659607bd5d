{{- /* What all components' pods say about where and as whom they run. In: root, component; optionally priority,
       tolerations in place of the component's own, and serviceLinks. */ -}}
{{- define "netcheck.podPlace" -}}
{{- $own := get .root.Values .component -}}
serviceAccountName: {{ include "netcheck.serviceAccountName" . }}
{{- /* Variables such as NETCHECK_HUB_PORT, which the cluster derives from a Service's name, look like flags: only the
       agent wants them, and none of its flags ends like one of them. */}}
enableServiceLinks: {{ .serviceLinks | default false }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priority | default $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations | default $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Labels and annotations of a component's pods; none that a new chart changes, for that would restart them. In: root,
       component; optionally annotations. */ -}}
{{- define "netcheck.podMetadata" -}}
{{- $own := get .root.Values .component -}}
{{- $labels := include "netcheck.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "netcheck" -}}
labels: {{- merge $labels $own.podLabels .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (deepCopy $own.podAnnotations) (.annotations | default dict) }}
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

{{- /* The hub's tolerations, as JSON: how long it waits for its node, then those of the values. Kubernetes takes the first
       that matches a taint; where there is none for these two, its API server adds one of 300 seconds. */ -}}
{{- define "netcheck.hubTolerations" -}}
{{- $own := .Values.hub -}}
{{- $named := list -}}
{{- range $own.tolerations -}}
{{- $named = append $named .key -}}
{{- end -}}
{{- $all := list -}}
{{- $waits := dict "not-ready" $own.failover.notReadySeconds "unreachable" $own.failover.unreachableSeconds -}}
{{- range $state := list "not-ready" "unreachable" -}}
{{- $key := printf "node.kubernetes.io/%s" $state -}}
{{- if not (has $key $named) -}}
{{- $seconds := get $waits $state | int -}}
{{- $all = append $all (dict "key" $key "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" $seconds) -}}
{{- end -}}
{{- end -}}
{{- concat $all $own.tolerations | toJson -}}
{{- end -}}

{{- /* As whom the hub comes to a receiver, and who vouches for that one. `flag`, `own`: what all its flags begin with, its values. */ -}}
{{- define "netcheck.hubReceiverArgs" -}}
{{- $at := printf "/etc/netcheck/%s" .flag -}}
{{- $flag := .flag -}}
{{- $args := list -}}
{{- with .own -}}
{{- if .tokenKey -}}{{- $args = append $args (printf "- --%s-token-file=%s/%s" $flag $at .tokenKey) -}}{{- end -}}
{{- if .user -}}{{- $args = append $args (printf "- --%s-user=%s" $flag .user) -}}{{- end -}}
{{- if .passwordKey -}}{{- $args = append $args (printf "- --%s-password-file=%s/%s" $flag $at .passwordKey) -}}{{- end -}}
{{- if .caKey -}}{{- $args = append $args (printf "- --%s-ca-cert=%s/%s" $flag $at .caKey) -}}{{- end -}}
{{- end -}}
{{- join "\n" $args -}}
{{- end -}}
