{{- /* Secret of the hub's certificate, in the hub's namespace. */ -}}
{{- define "netcheck.hubTlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" -}}
{{- .Values.tls.existingSecret.hub -}}
{{- else -}}
{{- printf "%s-hub-tls" (include "netcheck.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* Secret with the authority that agents trust and, for mutual TLS, their own certificate; release's namespace. */ -}}
{{- define "netcheck.agentTlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" -}}
{{- default .Values.tls.existingSecret.hub .Values.tls.existingSecret.agent -}}
{{- else -}}
{{- printf "%s-agent-tls" (include "netcheck.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* Secret of what only reads (`helm test`), in the release's namespace: the agents', where these may read as well. */ -}}
{{- define "netcheck.readerTlsSecret" -}}
{{- if not .Values.tls.agentCertName -}}
{{- include "netcheck.agentTlsSecret" . -}}
{{- else if eq .Values.tls.mode "existingSecret" -}}
{{- .Values.tls.existingSecret.reader -}}
{{- else -}}
{{- printf "%s-reader-tls" (include "netcheck.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* Names of the chart's own certificate of agents, as a JSON list; URIs apart. */ -}}
{{- define "netcheck.agentNames" -}}
{{- $names := list (printf "%s-agent" (include "netcheck.fullname" .)) -}}
{{- with .Values.tls.agentCertName -}}
{{- if not (contains ":" .) -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- uniq $names | toJson -}}
{{- end -}}

{{- /* Names of the hub's certificate, as a JSON list. */ -}}
{{- define "netcheck.hubNames" -}}
{{- $name := printf "%s-hub" (include "netcheck.fullname" .) -}}
{{- $host := include "netcheck.hubHost" . -}}
{{- $names := list $name (trimSuffix ".svc" $host) $host (printf "%s.%s" $host .Values.clusterDomain) "localhost" -}}
{{- range .Values.tls.extraNames -}}
{{- if not (regexMatch "^[0-9.]+$|:" .) -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- define "netcheck.hubAddresses" -}}
{{- $addresses := list "127.0.0.1" "::1" -}}
{{- range .Values.tls.extraNames -}}
{{- if regexMatch "^[0-9.]+$|:" . -}}{{- $addresses = append $addresses . -}}{{- end -}}
{{- end -}}
{{- $addresses | toJson -}}
{{- end -}}

{{- /* What a client of the hub is told: where it is, and how to trust it. */ -}}
{{- define "netcheck.clientArgs" -}}
{{- $tls := .Values.tls -}}
- --hub={{ include "netcheck.hubUrl" . }}
{{- if ne $tls.mode "none" }}
- --ca-cert=/etc/netcheck/tls/ca.crt
{{- if $tls.clientAuth }}
- --tls-cert=/etc/netcheck/tls/tls.crt
- --tls-key=/etc/netcheck/tls/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{- /* What clientArgs name. In: root, and the Secret that it comes from. */ -}}
{{- define "netcheck.clientTlsVolume" -}}
- name: tls
  secret:
    secretName: {{ .secret }}
    items:
      - {key: ca.crt, path: ca.crt}
      {{- if .root.Values.tls.clientAuth }}
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      {{- end }}
{{- end -}}

{{- /* The token by which an agent proves which node it is on. */ -}}
{{- define "netcheck.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          audience: netcheck-hub
          expirationSeconds: 3600
          path: token
{{- end -}}
