{{- /* The sidecar's container: the last of initContainers where it is native, one of containers where it is not. */ -}}
{{- define "backstay.sidecar" -}}
name: backstay
image: {{ include "backstay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if .Values.sidecar.native }}
restartPolicy: Always
{{- end }}
args: [run, --config, /etc/backstay/backstay.toml]
env:
  # The kubelet and Prometheus ask from outside the pod; health and drain read it too.
  - name: BACKSTAY_ADMIN__ADDRESS
    value: {{ printf "%s:%d" .Values.sidecar.bind (int .Values.sidecar.adminPort) | quote }}
  {{- with .Values.sidecar.adminToken }}
  {{- if .secretName }}
  - name: BACKSTAY_ADMIN__TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ .secretName }}
        key: {{ .key }}
  {{- end }}
  {{- end }}
  {{- with .Values.store }}
  {{- if .secretName }}
  - name: BACKSTAY_STORE__URL
    valueFrom:
      secretKeyRef:
        name: {{ .secretName }}
        key: {{ .key }}
  {{- end }}
  {{- end }}
  {{- if eq .Values.audit.to "persistentVolumeClaim" }}
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  {{- with .Values.sidecar.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: backstay
    containerPort: {{ .Values.sidecar.port }}
  - name: backstay-admin
    containerPort: {{ .Values.sidecar.adminPort }}
# Has it begun to accept? Until then the kubelet starts no container after a native sidecar.
startupProbe:
  httpGet: {path: /readyz, port: {{ .Values.sidecar.adminPort }}}
  periodSeconds: 1
  failureThreshold: 30
# Should it get new connections? Not while it drains. Never a question of the backend.
readinessProbe:
  httpGet: {path: /readyz, port: {{ .Values.sidecar.adminPort }}}
  periodSeconds: 2
  failureThreshold: 1
# Does its event loop turn at all? Only a restart helps where it does not.
livenessProbe:
  httpGet: {path: /healthz, port: {{ .Values.sidecar.adminPort }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
lifecycle:
  preStop:
    exec:
      # A native sidecar gets its SIGTERM after the backend has left, which is too late to drain.
      command: [backstay, drain, --pid, "1"]
resources:
  {{- toYaml .Values.sidecar.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - name: backstay-config
    mountPath: /etc/backstay
    readOnly: true
  {{- if ne .Values.audit.to "stdout" }}
  - name: backstay-audit
    mountPath: /var/lib/backstay
    {{- if eq .Values.audit.to "persistentVolumeClaim" }}
    subPathExpr: $(POD_NAME)
    {{- end }}
  {{- end }}
  {{- if ne .Values.store.durable.to "none" }}
  - name: backstay-store
    mountPath: /var/lib/backstay-store
  {{- if .Values.store.durable.secretName }}
  - name: backstay-store-key
    mountPath: /etc/backstay-store
    readOnly: true
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "backstay.volumes" -}}
- name: backstay-config
  configMap:
    name: {{ include "backstay.fullname" . }}
{{- if eq .Values.audit.to "emptyDir" }}
- name: backstay-audit
  emptyDir:
    sizeLimit: {{ .Values.audit.sizeMiB }}Mi
{{- else if eq .Values.audit.to "persistentVolumeClaim" }}
- name: backstay-audit
  persistentVolumeClaim:
    claimName: {{ .Values.audit.claimName }}
{{- end }}
{{- with .Values.store.durable }}
{{- if eq .to "emptyDir" }}
- name: backstay-store
  emptyDir:
    sizeLimit: {{ .sizeMiB }}Mi
{{- end }}
{{- if and (ne .to "none") .secretName }}
- name: backstay-store-key
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end -}}

{{- /* What runs the pods: a StatefulSet where each has a claim of its own. */ -}}
{{- define "backstay.workload" -}}
{{- eq .Values.store.durable.to "claim" | ternary "StatefulSet" "Deployment" -}}
{{- end -}}
