"""Eleven manifests as users write them: each with a workload to inject, in a style that must survive."""

DEPLOYMENT = """\
# The shop's backend
apiVersion: apps/v1
kind: Deployment
metadata:
  name: backend   # the name
  annotations:
    backstay.dev/inject: "true"
spec:
  replicas: 2
  selector:
    matchLabels: {app: backend}
  template:
    metadata:
      labels: {app: backend}
    spec:
      # who may do what
      serviceAccountName: shop
      # the app itself
      containers:
        - name: app  # main
          # pinned
          image: "shop:1.0"
          ports:
            - name: http
              containerPort: 8000
      # and its data
      volumes:
        # scratch
        - name: tmp
          emptyDir: {}
"""

SERVICE = """\
# its address
apiVersion: v1
kind: Service
metadata:
  name: backend
spec:
  selector:
    app: backend
  ports:
    - name: http
      port: 80
      targetPort: http  # by name
# the end
"""

STATEFUL = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: sessions
spec:
  serviceName: sessions
  selector:
    matchLabels:
      app: sessions
  template:
    metadata:
      labels:
        app: sessions
      annotations:
        backstay.dev/inject: 'true'
        prometheus.io/scrape: "false"  # nobody scrapes this
    spec:
      terminationGracePeriodSeconds: 120
      initContainers:
      # the schema first
      - name: migrate
        image: sessions:2
      containers:
      - name: logs
        image: shipper:1
        ports:
        - containerPort: 2020
      - name: sessions
        image: sessions:2
        command:
        - /bin/serve
        - '--flag=a: b'
        ports:
        - containerPort: 9000
          name: web
        lifecycle:
          postStart:
            exec: {command: ["true"]}
  volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      resources:
        requests:
          storage: 1Gi
"""

STATEFUL_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: sessions
spec:
  clusterIP: None
  selector:
    app: sessions
  ports:
  - name: a
    port: 80
    targetPort: 9000
  - name: b
    port: 81
    targetPort: web
  - name: logs
    port: 2020
"""

POD = """\
---
apiVersion: v1
kind: Pod
metadata:
  name: one
  labels:
    app: one
spec:
  containers:
    - image: one:1
      name: one
      ports:
        - containerPort: 3000
      env:
        - name: MOTTO
          value: |
            first
            second
        - name: FOLDED
          value: >-
            a long
            line
"""

KUBECTL = """\
apiVersion: v1
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    annotations:
      deployment.kubernetes.io/revision: "3"
    creationTimestamp: "2026-01-01T00:00:00Z"
    name: backend
    namespace: shop
  spec:
    selector:
      matchLabels:
        app: backend
    template:
      metadata:
        creationTimestamp: null
        labels:
          app: backend
      spec:
        containers:
        - image: shop:1.0
          imagePullPolicy: IfNotPresent
          name: app
          ports:
          - containerPort: 5000
            protocol: TCP
          resources: {}
        dnsPolicy: ClusterFirst
        terminationGracePeriodSeconds: 30
  status:
    replicas: 2
- apiVersion: v1
  kind: Service
  metadata:
    name: backend
  spec:
    ports:
    - port: 5000
      protocol: TCP
      targetPort: 5000
    selector:
      app: backend
kind: List
metadata:
  resourceVersion: ""
"""

SHORT = """\
kind: Deployment
apiVersion: apps/v1
metadata: {name: hasty, annotations: {backstay.dev/inject: "true"}}
spec:
  selector: {matchLabels: {app: hasty}}
  template:
    metadata:
      labels: {app: hasty}
    spec:
      terminationGracePeriodSeconds: 3  # in a hurry
      containers:
        - {name: app, image: "hasty:1", ports: [{containerPort: 8000}]}
"""

HOOKED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hooked
spec:
  selector:
    matchLabels:
      app: hooked
  template:
    metadata:
      labels:
        app: hooked
    spec:
      containers:
        - name: app
          image: hooked:1
          ports:
            - containerPort: 8000
              name: http
            - containerPort: 8001
              name: grpc
          lifecycle:
            preStop:
              exec:
                command: ["sh", "-c", "sleep 60"]  # ours
      volumes: []
"""

ANCHORED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: anchored
  labels: &labels
    app: anchored
spec:
  selector:
    matchLabels: *labels
  template:
    metadata:
      labels: *labels
    spec:
      containers:
        - name: app
          image: anchored:1
          ports:
            - containerPort: 8000
"""

CONFIG = """\
# Not touched: odd   indentation, and all
apiVersion: v1
kind: ConfigMap
metadata:
    name:   odd
data:
    text: |
      --- not a separator
      x:   1
"""

DAEMON_SET = DEPLOYMENT.replace("kind: Deployment", "kind: DaemonSet").replace("  replicas: 2\n", "")

MANIFESTS = {
    "DaemonSet": DAEMON_SET,
    "Deployment and Service": f"{DEPLOYMENT}---\n{SERVICE}",
    "Deployment alone": DEPLOYMENT,
    "StatefulSet": f"{STATEFUL}---\n{STATEFUL_SERVICE}",
    "Pod": POD,
    "List of kubectl": KUBECTL,
    "hurried": SHORT,
    "hook of its own": HOOKED,
    "anchors": ANCHORED,
    "among others": f"{CONFIG}---\n# empty\n---\n{DEPLOYMENT}--- # next\n{SERVICE}---\n{CONFIG}",
    "no last line break": DEPLOYMENT.rstrip("\n"),
}
