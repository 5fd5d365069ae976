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
{{- if has .name (list "BACKSTAY_ADMIN__ADDRESS" "BACKSTAY_ADMIN__TOKEN" "BACKSTAY_STORE__URL" "BACKSTAY_LISTEN__ADDRESS" "BACKSTAY_LISTEN__DRAIN_DELAY" "BACKSTAY_LISTEN__DRAIN_TIMEOUT" "BACKSTAY_AUDIT__PATH") -}}
{{- $wrong = append $wrong (printf "sidecar.env sets %s, which the chart sets from a value of its own" .name) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end -}}
