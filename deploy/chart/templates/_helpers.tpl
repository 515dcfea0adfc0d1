{{/* The name of everything of this release: `darkroom`, or `<release>-darkroom`. */}}
{{- define "darkroom.name" -}}
{{- if contains "darkroom" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-darkroom" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{/* What tells the pods of one role from all others; a list of the root and the role. */}}
{{- define "darkroom.selector" -}}
app.kubernetes.io/name: darkroom
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "darkroom.labels" -}}
{{ include "darkroom.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/part-of: darkroom
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end -}}

{{- define "darkroom.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}{{ else }}{{ printf "%s:%s" .Values.image.repository $tag }}{{ end -}}
{{- end -}}

{{- define "darkroom.secret" -}}
{{- if .Values.trial.enabled }}{{ include "darkroom.name" . }}-trial{{ else }}{{ .Values.secrets.existingSecret }}{{ end -}}
{{- end -}}

{{/* The one number: the process has `grace` seconds, its pod 20 more. */}}
{{- define "darkroom.podGrace" -}}{{ add .Values.grace 20 }}{{- end -}}

{{- define "darkroom.series" -}}
{{- .Values.scaling.selector | default (printf "namespace=%q" .Release.Namespace) -}}
{{- end -}}

{{/* What may be mounted: a claim, or the trial's. */}}
{{- define "darkroom.claim" -}}
{{- if .Values.trial.enabled }}{{ include "darkroom.name" . }}-trial-images{{ else }}{{ .Values.storage.existingClaim }}{{ end -}}
{{- end -}}

{{- define "darkroom.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "darkroom.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The secrets that a role is given: whoever does not call the provider does not know its key. What a rotation
     needs is optional as a variable, and a file is mounted when it is said to be there. */}}
{{- define "darkroom.secretNames" -}}
{{- $root := index . 0 -}}
{{- $needed := list "DATABASE_URL" "REDIS_URL" "DARKROOM_SECRET" -}}
{{- $perhaps := list "DARKROOM_SECRET_OLD" -}}
{{- if (index . 1).callsProvider -}}
{{- $needed = append $needed "AIMLAPI_KEY" -}}
{{- $perhaps = append $perhaps "AIMLAPI_KEYS_OLD" -}}
{{- end -}}
{{- range $root.Values.secrets.rotating -}}
{{- if and (eq $root.Values.secrets.as "files") (has . $perhaps) }}{{ $needed = append $needed . }}{{ end -}}
{{- end -}}
{{- dict "needed" $needed "perhaps" $perhaps | toJson -}}
{{- end -}}

{{/* The environment of a role; a list of the root and the role's values. */}}
{{- define "darkroom.env" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $names := include "darkroom.secretNames" (list $root $role) | fromJson -}}
{{- if eq $root.Values.secrets.as "files" }}
{{- range $names.needed }}
- { name: {{ . }}_FILE, value: /run/secrets/darkroom/{{ . }} }
{{- end }}
{{- else }}
{{- range $names.needed }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ include "darkroom.secret" $root }}, key: {{ . }} } }
{{- end }}
{{- range $names.perhaps }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ include "darkroom.secret" $root }}, key: {{ . }}, optional: true } }
{{- end }}
{{- end }}
{{- range $name, $value := include "darkroom.plain" . | fromYaml }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end -}}

{{/* A value as text. As Helm reads it each number is a float, which `toString` writes as 1e+06 from a million on. */}}
{{- define "darkroom.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* What is no secret, by name, all of it text: what the chart says, and over it what `settings` says. */}}
{{- define "darkroom.plain" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $plain := dict
  "DARKROOM_GRACE" $root.Values.grace
  "DARKROOM_GENERATE_SLOTS" $root.Values.slots.generate
  "DARKROOM_DELIVER_SLOTS" $root.Values.slots.deliver
  "DARKROOM_PROVIDER_LIMIT" $root.Values.providerLimit
  "DARKROOM_PUBLIC_URL" ($root.Values.publicUrl | default "http://127.0.0.1:8000")
  "DARKROOM_STORAGE_URL" ($root.Values.storage.url | default "/var/lib/darkroom/images")
  "DARKROOM_HOST" "0.0.0.0"
  "DARKROOM_PORT" "8000"
  "DARKROOM_METRICS_HOST" "0.0.0.0"
  "DARKROOM_METRICS_PORT" "9090"
-}}
{{- if eq $role.port.name "http" }}{{ $_ := set $plain "DARKROOM_PORT" $role.port.number }}{{ else }}{{ $_ := set $plain "DARKROOM_METRICS_PORT" $role.port.number }}{{ end -}}
{{- with $root.Values.tracing.endpoint -}}
{{- $_ := set $plain "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- $_ := set $plain "OTEL_TRACES_SAMPLER" $root.Values.tracing.sampler -}}
{{- $_ := set $plain "OTEL_TRACES_SAMPLER_ARG" $root.Values.tracing.ratio -}}
{{- end -}}
{{- if $root.Values.trial.enabled -}}
{{- $_ := set $plain "AIMLAPI_BASE_URL" (printf "http://%s-trial-simulator:9000" (include "darkroom.name" $root)) -}}
{{- $_ := set $plain "DARKROOM_EGRESS_ALLOW" "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16" -}}
{{- end -}}
{{- $texts := dict -}}
{{- range $name, $value := merge (dict) $root.Values.settings $plain }}{{ $_ := set $texts $name (include "darkroom.text" $value) }}{{ end -}}
{{- toYaml $texts -}}
{{- end -}}

{{/* What clients may ask for. Neither kind of route can leave out a path of a prefix, so each is named: all but
     /metrics, /healthz and /readyz, which need no key. */}}
{{- define "darkroom.paths" -}}
{{- dict "/" "Exact" "/docs" "Prefix" "/errors" "Exact" "/favicon.ico" "Exact" "/openapi.json" "Exact" "/page" "Prefix" "/session" "Prefix" "/v1" "Prefix" | toJson -}}
{{- end -}}

{{/* The port of the receiver of spans: the one that its URL names, or its scheme's. */}}
{{- define "darkroom.tracingPort" -}}
{{- $url := urlParse .Values.tracing.endpoint -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{- define "darkroom.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
{{- if include "darkroom.claim" . }}
- { name: images, mountPath: /var/lib/darkroom }
{{- end }}
{{- if eq .Values.secrets.as "files" }}
- { name: secrets, mountPath: /run/secrets/darkroom, readOnly: true }
{{- end }}
{{- if .Values.caBundle.existingConfigMap }}
- { name: ca, mountPath: /etc/darkroom/ca, readOnly: true }
{{- end }}
{{- end -}}

{{/* A list of the root and the role's values. */}}
{{- define "darkroom.volumes" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
# Large images are spooled there, so as not to lie in memory.
- { name: tmp, emptyDir: { sizeLimit: 4Gi } }
{{- if include "darkroom.claim" $root }}
- { name: images, persistentVolumeClaim: { claimName: {{ include "darkroom.claim" $root }} } }
{{- end }}
{{- if eq $root.Values.secrets.as "files" }}
- name: secrets
  secret:
    secretName: {{ include "darkroom.secret" $root }}
    defaultMode: 0440
    items:
    {{- range (include "darkroom.secretNames" (list $root $role) | fromJson).needed }}
      - { key: {{ . }}, path: {{ . }} }
    {{- end }}
{{- end }}
{{- if $root.Values.caBundle.existingConfigMap }}
- { name: ca, configMap: { name: {{ $root.Values.caBundle.existingConfigMap }} } }
{{- end }}
{{- end -}}
