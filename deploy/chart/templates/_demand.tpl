{{/* What no schema can say: each refusal names the value and what to do. */}}
{{- define "darkroom.demand" -}}
{{- $v := .Values -}}
{{- if $v.trial.enabled -}}
{{- if $v.secrets.existingSecret }}{{ fail "trial.enabled and secrets.existingSecret are both set: a trial brings secrets of its own. Take one of them away." }}{{ end -}}
{{- if ne $v.secrets.as "env" }}{{ fail "trial.enabled gives its secrets as variables: leave secrets.as at env." }}{{ end -}}
{{- if or $v.storage.url $v.storage.existingClaim }}{{ fail "trial.enabled brings a volume for images: leave storage.url and storage.existingClaim empty." }}{{ end -}}
{{- else -}}
{{- if not $v.secrets.existingSecret }}{{ fail "secrets.existingSecret is empty: name the Secret with DATABASE_URL, REDIS_URL, DARKROOM_SECRET and AIMLAPI_KEY; or set trial.enabled=true for a look without any." }}{{ end -}}
{{- if not $v.publicUrl }}{{ fail "publicUrl is empty: say where callers reach the api, https://darkroom.example.com. Image URLs begin with it." }}{{ end -}}
{{- if not (or $v.storage.url $v.storage.existingClaim) }}{{ fail "storage.url and storage.existingClaim are both empty: images need a bucket (s3://…, gs://…, az://…), or a claim that every node can mount." }}{{ end -}}
{{- if and $v.storage.url $v.storage.existingClaim }}{{ fail "storage.url and storage.existingClaim are both set: images are kept in one of them. Take one away." }}{{ end -}}
{{- end -}}
{{- if and (eq $v.scaling.mode "keda") (not $v.scaling.prometheus) }}{{ fail "scaling.mode is keda and scaling.prometheus is empty: KEDA asks a Prometheus, give its URL." }}{{ end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}{{ fail "ingress.enabled is true and ingress.host is empty: name the host." }}{{ end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.host) }}{{ fail "httpRoute.enabled is true and httpRoute.host is empty: name the host." }}{{ end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parents) }}{{ fail "httpRoute.enabled is true and httpRoute.parents is empty: name the Gateway." }}{{ end -}}
{{- range $name, $role := $v.roles -}}
{{- if lt (int $role.scaling.max) (int $role.scaling.min) }}{{ fail (printf "roles.%s.scaling.max (%d) is less than its min (%d)." $name (int $role.scaling.max) (int $role.scaling.min)) }}{{ end -}}
{{- if or (lt (int $role.scaling.fallback) (int $role.scaling.min)) (gt (int $role.scaling.fallback) (int $role.scaling.max)) }}{{ fail (printf "roles.%s.scaling.fallback (%d) is not between its min (%d) and max (%d): it is how many run while Prometheus is silent." $name (int $role.scaling.fallback) (int $role.scaling.min) (int $role.scaling.max)) }}{{ end -}}
{{- if ge (int $role.preStopSeconds) 15 }}{{ fail (printf "roles.%s.preStopSeconds (%d) leaves too little of the 20 s that a pod has beyond grace: give at most 14." $name (int $role.preStopSeconds)) }}{{ end -}}
{{- if not (trimSuffix "%" (include "darkroom.text" $role.maxSurge) | int) }}{{ fail (printf "roles.%s.maxSurge is %v: no pod goes before a new one has come, so none would ever be replaced. Give at least 1." $name $role.maxSurge) }}{{ end -}}
{{- $port := ternary "http" "metrics" (eq $name "api") -}}
{{- if ne $role.port.name $port }}{{ fail (printf "roles.%s.port.name is %s: Service and network policy find this role by the name %s." $name $role.port.name $port) }}{{ end -}}
{{- end -}}
{{- $ours := list "DARKROOM_GRACE" "DARKROOM_GENERATE_SLOTS" "DARKROOM_DELIVER_SLOTS" "DARKROOM_PROVIDER_LIMIT" "DARKROOM_PUBLIC_URL" "DARKROOM_STORAGE_URL" "DARKROOM_HOST" "DARKROOM_PORT" "DARKROOM_METRICS_HOST" "DARKROOM_METRICS_PORT" "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_TRACES_SAMPLER" "OTEL_TRACES_SAMPLER_ARG" -}}
{{- $known := splitList "\n" (.Files.Get "files/settings.txt") -}}
{{- range $name, $value := $v.settings -}}
{{- if has $name $ours }}{{ fail (printf "settings.%s: the chart sets it, so that pods, probes and scaling agree; change the value of its own (grace, slots, providerLimit, publicUrl, storage.url, roles.*.port, tracing)." $name) }}{{ end -}}
{{- if has $name (list "DATABASE_URL" "REDIS_URL" "DARKROOM_SECRET" "DARKROOM_SECRET_OLD" "AIMLAPI_KEY" "AIMLAPI_KEYS_OLD" "OTEL_EXPORTER_OTLP_HEADERS") }}{{ fail (printf "settings.%s is a secret: put it into the Secret that secrets.existingSecret names, or into one under envFrom." $name) }}{{ end -}}
{{- if not (or (has $name $known) (hasPrefix "OTEL_" $name) (hasPrefix "SSL_" $name)) }}{{ fail (printf "settings.%s: there is no such setting, and no role would start with it; docs/settings.md lists them." $name) }}{{ end -}}
{{- end -}}
{{- end -}}
