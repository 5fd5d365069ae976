{{- /* What a schema cannot say in a sentence: values that contradict each other. All of them at once. */ -}}
{{- define "backstay.check" -}}
{{- $wrong := list -}}
{{- $sidecar := .Values.sidecar -}}
{{- if and $sidecar.native (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $wrong = append $wrong (printf "sidecar.native needs Kubernetes 1.29, and this is %s: set sidecar.native=false" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (eq .Values.backend.preStop "sleep") (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $wrong = append $wrong (printf "backend.preStop=sleep needs Kubernetes 1.30, and this is %s: set it to exec" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if eq (int $sidecar.port) (int $sidecar.adminPort) -}}
{{- $wrong = append $wrong (printf "sidecar.port and sidecar.adminPort are both %d: the listeners need a port each" (int $sidecar.port)) -}}
{{- end -}}
{{- range $name := list "port" "adminPort" -}}
{{- if and $.Values.backend.image (eq (int (get $sidecar $name)) (int $.Values.backend.port)) -}}
{{- $wrong = append $wrong (printf "sidecar.%s is %d, and so is backend.port: they share the pod's address, so set another" $name (int $.Values.backend.port)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.audit.to "persistentVolumeClaim") (not .Values.audit.claimName) -}}
{{- $wrong = append $wrong "audit.to=persistentVolumeClaim needs audit.claimName: the claim that exists already" -}}
{{- end -}}
{{- if and (ne .Values.audit.to "persistentVolumeClaim") .Values.audit.claimName -}}
{{- $wrong = append $wrong (printf "audit.claimName is set, but audit.to is %s: set audit.to=persistentVolumeClaim" .Values.audit.to) -}}
{{- end -}}
{{- if and .Values.store.secretName (ne .Values.store.url "memory://") -}}
{{- $wrong = append $wrong "store.url and store.secretName are both set: the URL comes from one of them" -}}
{{- end -}}
{{- with .Values.store.durable -}}
{{- if and (ne .to "none") (or (ne $.Values.store.url "memory://") $.Values.store.secretName) -}}
{{- $wrong = append $wrong (printf "store.durable.to is %s, but what is kept goes to store.url: set one of them" .to) -}}
{{- end -}}
{{- if and (eq .to "claim") (not .secretName) -}}
{{- $wrong = append $wrong "store.durable.to=claim keeps what users read on a disk: name the Secret with its key in store.durable.secretName" -}}
{{- end -}}
{{- if and (eq .to "claim") (not $.Values.backend.image) -}}
{{- $wrong = append $wrong "store.durable.to=claim renders a StatefulSet, which needs backend.image; in a chart of your own, use emptyDir" -}}
{{- end -}}
{{- if and (eq .to "none") .secretName -}}
{{- $wrong = append $wrong "store.durable.secretName is set, but store.durable.to is none: set it to emptyDir or claim" -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (%d) is above autoscaling.maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and .enabled (not (dig "requests" "cpu" "" $.Values.backend.resources)) -}}
{{- $wrong = append $wrong "autoscaling measures against the backend's CPU request: set backend.resources.requests.cpu" -}}
{{- end -}}
{{- if and .enabled (not $.Values.backend.image) -}}
{{- $wrong = append $wrong "autoscaling is on, but without backend.image there is no Deployment to scale" -}}
{{- end -}}
{{- end -}}
{{- $upstreams := .Values.config.upstreams | default dict -}}
{{- $names := keys $upstreams | sortAlpha | join ", " -}}
{{- if and .Values.passthrough (not (hasKey $upstreams .Values.passthrough)) -}}
{{- $wrong = append $wrong (printf "passthrough names %q, but config.upstreams has: %s" .Values.passthrough ($names | default "nothing")) -}}
{{- else if and (gt (len $upstreams) 1) (not .Values.passthrough) -}}
{{- $wrong = append $wrong (printf "config.upstreams has more than one (%s): say in passthrough which gets what no route matches" $names) -}}
{{- end -}}
{{- range .Values.sidecar.env -}}
{{- if has .name (list "BACKSTAY_ADMIN__ADDRESS" "BACKSTAY_ADMIN__TOKEN" "BACKSTAY_STORE__URL" "BACKSTAY_STORE__KEY_FILE" "BACKSTAY_LISTEN__ADDRESS" "BACKSTAY_LISTEN__DRAIN_DELAY" "BACKSTAY_LISTEN__DRAIN_TIMEOUT" "BACKSTAY_AUDIT__PATH") -}}
{{- $wrong = append $wrong (printf "sidecar.env sets %s, which the chart sets from a value of its own" .name) -}}
{{- end -}}
{{- end -}}
{{- range $found := include "backstay.secrets" (dict "path" "config" "value" .Values.config) | trim | splitList "\n" | compact -}}
{{- $wrong = append $wrong (printf "%s: a ConfigMap is no place for it, use a Secret and sidecar.env" $found) -}}
{{- end -}}
{{- range $found := include "backstay.secrets" (dict "path" "store.url" "value" .Values.store.url) | trim | splitList "\n" | compact -}}
{{- $wrong = append $wrong (printf "%s: a ConfigMap is no place for it, put the URL into a Secret and name it in store.secretName" $found) -}}
{{- end -}}
{{- range .Values.sidecar.env -}}
{{- if and .value (regexMatch "(?i)(token|password|secret|_key)$" .name) -}}
{{- $wrong = append $wrong (printf "sidecar.env sets %s in plain text: take it from a Secret with valueFrom.secretKeyRef" .name) -}}
{{- end -}}
{{- end -}}
{{- $names := dict "backend.env" .Values.backend.env "sidecar.env" .Values.sidecar.env "extraVolumes" .Values.extraVolumes -}}
{{- range $values, $named := $names -}}
{{- range $name := include "backstay.repeated" ($named | default list) | splitList "\n" | compact -}}
{{- $wrong = append $wrong (printf "%s has two entries with the name %s: remove one" $values $name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if has .name (list "backstay-config" "backstay-audit") -}}
{{- $wrong = append $wrong (printf "extraVolumes has the name %s, which is a volume of the chart: use another" .name) -}}
{{- end -}}
{{- end -}}
{{- range $found := include "backstay.routes" (.Values.config.routes | default list) | trim | splitList "\n" | compact -}}
{{- $wrong = append $wrong $found -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end -}}

{{- /* Yield a line for each value that carries a secret: a password in a URL, in whichever part, a private key, a bearer token. */ -}}
{{- define "backstay.secrets" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value -}}
{{- range $key, $inner := .value -}}
{{ include "backstay.secrets" (dict "path" (printf "%s.%s" $path $key) "value" $inner) }}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $index, $inner := .value -}}
{{ include "backstay.secrets" (dict "path" (printf "%s[%d]" $path $index) "value" $inner) }}
{{- end -}}
{{- else if kindIs "string" .value -}}
{{- if regexMatch "(?i)^[a-z][a-z0-9+.-]*:/*[^/?#]*(@|%40)" .value }}
{{ $path }} carries a user or a password
{{- else if regexMatch "(?i)[?&;](user|username|pass|password|token|secret|credential|auth)[a-z_]*=" .value }}
{{ $path }} carries a password in its query
{{- else if regexMatch "-----BEGIN [A-Z ]*PRIVATE KEY" .value }}
{{ $path }} is a private key
{{- else if regexMatch "(?i)^(bearer|basic) +[a-z0-9]|^eyJ[a-zA-Z0-9_-]+[.]" .value }}
{{ $path }} is a credential
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Yield each name that a list of named things has more than once, on a line of its own. */ -}}
{{- define "backstay.repeated" -}}
{{- $seen := dict -}}
{{- range . -}}
{{- if eq (get $seen .name | toString) "once" }}
{{ .name }}
{{- $_ := set $seen .name "told" -}}
{{- else if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name "once" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Yield a line for each route that an earlier one repeats, or whose path is written for another router. */ -}}
{{- define "backstay.routes" -}}
{{- $operations := dict -}}
{{- $requests := dict -}}
{{- range $index, $route := . -}}
{{- $match := $route.match | default "" -}}
{{- $operation := $route.operation | default "" -}}
{{- if and $operation (hasKey $operations $operation) }}
config.routes[{{ $index }}] has the operation {{ $operation }}, as config.routes[{{ get $operations $operation }}] has: each route needs its own
{{- end -}}
{{- $_ := set $operations $operation (toString $index) -}}
{{- $path := regexFind "/.*" $match -}}
{{- if regexMatch "[*]|/:|<" $path }}
config.routes[{{ $index }}].match is {{ toJson $match }}: write {name} for one segment, and {rest...} for all that follow
{{- end -}}
{{- $shape := regexReplaceAll "[{][^}]+[.]{3}[}]" (regexReplaceAll "[{][^}.]*[}]" $path "{}") "{...}" -}}
{{- range $method := splitList "," (trimSuffix $path $match) -}}
{{- $request := printf "%s %s" (trim $method) $shape -}}
{{- if and $path (hasKey $requests $request) }}
config.routes[{{ $index }}] matches {{ $request }}, as config.routes[{{ get $requests $request }}] does: remove one, or change its match
{{- end -}}
{{- $_ := set $requests $request (toString $index) -}}
{{- end -}}
{{- end -}}
{{- end -}}
