"""The pod of a node, but for its volumes: one container that may do nothing but serve.

Knows the pod; does not know the StatefulSet around it. It passes the `restricted` standard of Kubernetes, and nothing
that people may write into a broker weakens that.
"""

from collections.abc import Iterable

from mqtt_api.kinds.workload import PodMetadata, PodSpec, PodTemplate, Resources, TopologySpreadConstraint
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.grace import pod_grace_s
from mqtt_operator.desired.image import node_image
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.labels import Component, labels, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import as_written
from mqtt_operator.desired.volumes import Volume

# A node is one core. No limit for it: what is throttled in the middle of a turn answers nobody.
DEFAULT_RESOURCES: Manifest = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": names.USER_ID,
    "runAsGroup": names.USER_ID,
    "fsGroup": names.USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_template(broker: MQTTBroker, inputs: Inputs, volumes: Iterable[Volume], marks: dict[str, str]) -> Manifest:
    """`marks`: annotations of ours. What people wrote comes first, so that it cannot replace them."""
    volumes = tuple(volumes)
    own = broker.spec.pod_template or PodTemplate()
    metadata, name = own.metadata or PodMetadata(), broker.metadata.name
    version = inputs.version if broker.spec.image is None else None  # nobody knows what is in people's own image
    return {
        "metadata": {
            "labels": {**metadata.labels, **labels(name, Component.BROKER, version)},
            "annotations": {**metadata.annotations, **marks},
        },
        "spec": {
            **pod_basics(broker, inputs),
            **_placement(name, own.spec or PodSpec()),
            "terminationGracePeriodSeconds": pod_grace_s(broker),
            "containers": [_container(broker, inputs, volumes, None if own.spec is None else own.spec.resources)],
            "volumes": [volume.declaration for volume in volumes if volume.source is not None],
        },
    }


def pod_basics(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    """What the pods of nodes and of the managed store have in common."""
    basics = {
        "serviceAccountName": names.service_account(broker.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
    }
    pull_secrets = dict.fromkeys([*(ref.name for ref in broker.spec.image_pull_secrets), *inputs.pull_secrets])
    return {**basics, "imagePullSecrets": [{"name": name} for name in pull_secrets]} if pull_secrets else basics


def _container(broker: MQTTBroker, inputs: Inputs, volumes: Iterable[Volume], resources: Resources | None) -> Manifest:
    ports = {listener.name: listener.port for listener in broker.spec.listeners} | {
        names.HTTP_PORT_NAME: names.HTTP_PORT
    }
    return {
        "name": names.NODE_CONTAINER,
        "image": node_image(broker, inputs),
        "imagePullPolicy": inputs.pull_policy,
        "args": ["-m", "mqtt_broker", "--settings", names.SETTINGS_FILE, "--node", "$(POD_NAME)"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "securityContext": CONTAINER_SECURITY,
        "resources": DEFAULT_RESOURCES if resources is None else as_written(resources),
        "volumeMounts": [volume.mount for volume in volumes],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # A node whose store is away waits for it, and a new pod would not find it sooner.
        "startupProbe": _probe(names.STARTUP_PATH, period_s=2, failures_max=450),
        "readinessProbe": _probe(names.READINESS_PATH, period_s=2, failures_max=2),
        "livenessProbe": _probe(names.LIVENESS_PATH, period_s=10, failures_max=6),
    }


def _probe(path: str, *, period_s: int, failures_max: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.HTTP_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": 2,
        "failureThreshold": failures_max,
    }


def _placement(broker: str, spec: PodSpec) -> Manifest:
    """Where the pod runs: what is written, and otherwise spread over zones and machines as far as that goes."""
    constraints = spec.topology_spread_constraints
    placement: Manifest = {
        "topologySpreadConstraints": [_constraint(broker, each) for each in constraints] or _spread(broker)
    }
    if spec.node_selector:
        placement["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        placement["tolerations"] = [as_written(toleration) for toleration in spec.tolerations]
    if spec.affinity is not None:
        placement["affinity"] = as_written(spec.affinity)
    if spec.priority_class_name is not None:
        placement["priorityClassName"] = spec.priority_class_name
    return placement


def _spread(broker: str) -> list[Manifest]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(broker, Component.BROKER)},
        }
        for key in SPREAD_OVER
    ]


def _constraint(broker: str, constraint: TopologySpreadConstraint) -> Manifest:
    usual = {"labelSelector": {"matchLabels": selector(broker, Component.BROKER)}}
    return {**usual, **as_written(constraint)}
