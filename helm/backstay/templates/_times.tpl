{{- /*
All times of a termination are parts of terminationGracePeriodSeconds (G), so that it always suffices:

  0        every preStop hook runs: the sidecar drains, the backend sleeps
  G/6      the sidecar stops accepting: by now no endpoint list names the pod
  G-G/6-2  the last request has ended, the sidecar leaves
  G-G/6-1  the backend wakes and gets its SIGTERM, with nothing under way
  G        nobody is left to be killed
*/ -}}
{{- define "backstay.drainDelay" -}}
{{ div (int .Values.terminationGracePeriodSeconds) 6 }}
{{- end -}}

{{- define "backstay.drainTimeout" -}}
{{ sub (int .Values.terminationGracePeriodSeconds) (add 2 (mul 2 (include "backstay.drainDelay" . | int))) }}
{{- end -}}

{{- define "backstay.backendSleep" -}}
{{ sub (int .Values.terminationGracePeriodSeconds) (add 1 (include "backstay.drainDelay" . | int)) }}
{{- end -}}

{{- define "backstay.terminationGracePeriodSeconds" -}}
{{ int .Values.terminationGracePeriodSeconds }}
{{- end -}}

{{- /* The backend's `lifecycle`: it must outlive the sidecar's last request. */ -}}
{{- define "backstay.backendLifecycle" -}}
{{- $sleep := include "backstay.backendSleep" . -}}
{{- $kubelet := semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}
preStop:
{{- if or (eq .Values.backend.preStop "sleep") (and $kubelet (eq .Values.backend.preStop "auto")) }}
  sleep:
    seconds: {{ $sleep }}
{{- else }}
  exec:
    command: [sleep, {{ $sleep | quote }}]
{{- end }}
{{- end -}}
