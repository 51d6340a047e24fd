{{/*
The Deployment and the disruption budget of one process. Takes a dict:
root; name; command; port: the probes' and metrics' port; settings: variables that the chart decides;
drainSeconds: how long it may work on after SIGTERM, besides stopSeconds; served: whether a Service leads to it.
*/}}
{{- define "parley.process" -}}
{{- $values := index .root.Values .name }}
{{- $tls := .root.Values.internalTls.secretName }}
{{- $scheme := ternary "HTTPS" "HTTP" (and (ne $tls "") (eq .name "history")) }}
{{- $preStop := ternary (int .root.Values.preStopSeconds) 0 .served }}
{{- $autoscaled := and (hasKey $values "autoscaling") (dig "autoscaling" "enabled" false $values) }}
{{- $settings := merge (dict) .settings $values.settings .root.Values.settings }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "parley.fullname" .root }}-{{ .name }}
  labels: {{- include "parley.labels" . | nindent 4 }}
spec:
  {{- if not $autoscaled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "parley.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels: {{- include "parley.labels" . | nindent 8 }}
      {{- with $values.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      # Else Kubernetes adds a variable for each Service of the namespace.
      enableServiceLinks: false
      automountServiceAccountToken: false
      # preStop is part of this time.
      terminationGracePeriodSeconds: {{ add $preStop .drainSeconds $values.stopSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ $key }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "parley.selector" $ | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "parley.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: {{ toJson .command }}
          env:
            {{- range $setting, $value := $settings }}
            - {name: {{ $setting }}, value: {{ $value | quote }}}
            {{- end }}
            {{- range $setting, $key := index .root.Values.secret.keys .name }}
            - {name: {{ $setting }}_FILE, value: /etc/parley/secrets/{{ $key }}}
            {{- end }}
            {{- if $tls }}
            - {name: PARLEY_INTERNAL_TLS_CA, value: /etc/parley/tls/ca.crt}
            - {name: PARLEY_INTERNAL_TLS_CERT, value: /etc/parley/tls/tls.crt}
            - {name: PARLEY_INTERNAL_TLS_KEY, value: /etc/parley/tls/tls.key}
            {{- end }}
          ports:
            - {name: private, containerPort: {{ .port }}}
            {{- if eq .name "gateway" }}
            - {name: public, containerPort: 8080}
            {{- end }}
          # A process that starts while a store is away stays alive and waits: only /readyz looks at the stores.
          startupProbe:
            httpGet: {path: /healthz, port: private, scheme: {{ $scheme }}}
            periodSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet: {path: /healthz, port: private, scheme: {{ $scheme }}}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: private, scheme: {{ $scheme }}}
            periodSeconds: 5
            timeoutSeconds: 4
            failureThreshold: 2
          {{- if $preStop }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ $preStop }}}
          {{- end }}
          resources: {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: secrets, mountPath: /etc/parley/secrets, readOnly: true}
            {{- if $tls }}
            - {name: tls, mountPath: /etc/parley/tls, readOnly: true}
            {{- end }}
      volumes:
        - name: tmp
          # A knowledge cache that is larger than its setting for a moment must not end the Pod.
          emptyDir: {sizeLimit: {{ add 2147483648 (dig "knowledgeBytes" 0 $values | int64) }}}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              - secret:
                  name: {{ include "parley.secretName" .root }}
                  items:
                    {{- range $key := index .root.Values.secret.keys .name | values | uniq | sortAlpha }}
                    - {key: {{ $key }}, path: {{ $key }}}
                    {{- end }}
        {{- if $tls }}
        - name: tls
          secret: {secretName: {{ $tls }}, defaultMode: 0440}
        {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "parley.fullname" .root }}-{{ .name }}
  labels: {{- include "parley.labels" . | nindent 4 }}
spec:
  # One at a time. A budget of at least one left would block the drain of a node where there is a single Pod.
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "parley.selector" . | nindent 6 }}
{{- end }}
