{{- /* The configuration file: what the values say, and what the chart knows better. */ -}}
{{- define "backstay.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $listen := merge (dict
      "address" (printf "%s:%d" .Values.sidecar.bind (int .Values.sidecar.port))
      "drain_delay" (printf "%ss" (include "backstay.drainDelay" .))
      "drain_timeout" (printf "%ss" (include "backstay.drainTimeout" .))
    ) ($config.listen | default dict) -}}
{{- $upstreams := $config.upstreams | default (dict "backend" (dict "url" (printf "http://127.0.0.1:%d" (int .Values.backend.port)))) -}}
{{- with $config.dry_run -}}
dry_run = {{ . }}

{{ end -}}
{{- include "backstay.tomlTable" (dict "name" "listen" "table" $listen) -}}
{{- include "backstay.tomlTable" (dict "name" "audit" "table" (include "backstay.auditTable" . | fromJson)) -}}
{{- $url := ternary dict (dict "url" .Values.store.url) (ne .Values.store.secretName "") -}}
{{- with .Values.store.durable -}}
{{- if ne .to "none" -}}
{{- $url = dict "url" "sqlite:///var/lib/backstay-store/kept" -}}
{{- if .secretName -}}
{{- $url = set $url "key_file" (printf "/etc/backstay-store/%s" .key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with merge $url ($config.store | default dict) -}}
{{- include "backstay.tomlTable" (dict "name" "store" "table" .) -}}
{{- end -}}
{{- with .Values.passthrough -}}
{{- include "backstay.tomlTable" (dict "name" (printf "upstreams.%s" (toJson .)) "table" (get $upstreams .)) -}}
{{- end -}}
{{- range $name, $upstream := omit $upstreams .Values.passthrough -}}
{{- include "backstay.tomlTable" (dict "name" (printf "upstreams.%s" (toJson $name)) "table" $upstream) -}}
{{- end -}}
{{- range $name, $circuit := $config.circuits -}}
{{- include "backstay.tomlTable" (dict "name" (printf "circuits.%s" (toJson $name)) "table" $circuit) -}}
{{- end -}}
{{- range $name, $table := omit $config "dry_run" "listen" "audit" "store" "upstreams" "circuits" "routes" -}}
{{- include "backstay.tomlTable" (dict "name" $name "table" $table) -}}
{{- end -}}
{{- range $config.routes -}}
{{- include "backstay.tomlTable" (dict "name" "[routes]" "table" .) -}}
{{- end -}}
{{- end -}}

{{- define "backstay.auditTable" -}}
{{- $audit := .Values.config.audit | default dict -}}
{{- if eq .Values.audit.to "stdout" -}}
{{- merge (dict "path" "-") $audit | toJson -}}
{{- else if eq .Values.audit.to "emptyDir" -}}
{{- $size := int .Values.audit.sizeMiB -}}
{{- merge (dict "path" "/var/lib/backstay/audit.jsonl") $audit (dict
      "rotate_size" (printf "%dMiB" (div $size 8))
      "keep_size" (printf "%dMiB" (div $size 2))) | toJson -}}
{{- else -}}
{{- merge (dict "path" "/var/lib/backstay/audit.jsonl") $audit | toJson -}}
{{- end -}}
{{- end -}}

{{- /* One TOML table, values each on a line of their own. Helm's toToml makes 5.0 of 5, and a count is no 5.0. */ -}}
{{- define "backstay.tomlTable" -}}
[{{ .name }}]
{{ range $key, $value := .table -}}
{{ $key }} = {{ include "backstay.tomlValue" $value }}
{{ end }}
{{ end -}}

{{- /* JSON's strings, numbers and booleans are TOML's too; only objects look different. */ -}}
{{- define "backstay.tomlValue" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha -}}
{{ if $index }},{{ end }} {{ toJson $key }} = {{ include "backstay.tomlValue" (get $ $key) }}
{{- end }} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $value := . -}}{{ if $index }}, {{ end }}{{ include "backstay.tomlValue" $value }}{{- end -}}]
{{- else if kindIs "invalid" . -}}
{{- fail "config: null has no place in a configuration: leave the key out, or write \"none\"" -}}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
