"""How nodes run as pods: where, with how much, how many at least, and how many may be away.

Knows the shape and which combinations contradict each other; does not know pods. What is not here cannot be said: no
field weakens a pod's security context, adds containers, volumes or environment.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.common import LABEL_KEY_PATTERN, Labels, LabelValue, ObjectName
from mqtt_api.kinds.free_form import FreeForm
from mqtt_api.kinds.markers import Entries, Items
from mqtt_api.kinds.quantities import Quantity
from mqtt_api.kinds.selectors import LabelKey, LabelSelector
from mqtt_api.kinds.services import ChildAnnotations, ChildLabels
from mqtt_api.kinds.shape import Rule, Shape

REPLICAS_MAX = 100  # every subscribe waits for every node, so a broker stops being quick long before
TOLERATIONS_MAX = 32
SPREAD_CONSTRAINTS_MAX = 16
SPREAD_LABEL_KEYS_MAX = 16
RESOURCES_MAX = 8
TOLERATION_SECONDS_MAX = 31_536_000  # a year
SKEW_MAX = 100
CPU_UTILIZATION_MAX = 1_000  # of what is requested, which may be little
CONNECTIONS_PER_NODE_MAX = 1_000_000

Amounts = Annotated[
    Mapping[str, Quantity],
    Entries(RESOURCES_MAX, "must have keys that are resources, such as cpu and memory", LABEL_KEY_PATTERN),
]


def _within_limits(shape: "Resources") -> bool:
    return all(
        name not in shape.limits or amount.amount <= shape.limits[name].amount
        for name, amount in shape.requests.items()
    )


class Resources(Shape):
    """What a pod is given of its machine."""

    requests: Amounts = Field(default={}, description="What is set aside for each pod, such as {cpu: 500m}.")
    limits: Amounts = Field(default={}, description="What each pod gets at most, such as {memory: 1Gi}.")

    invariants = (
        Rule(
            cel="!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
            "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            message="must not be more than limits",
            holds=_within_limits,
            field="requests",
        ),
    )


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Shape):
    """A taint of machines that the pods put up with."""

    key: LabelKey | None = Field(default=None, description="The taint. Absent, with operator: Exists: all of them.")
    operator: TolerationOperator = Field(
        default=TolerationOperator.EQUAL, description="Equal compares with value; Exists asks for the taint alone."
    )
    value: LabelValue | None = Field(default=None, description="Only for Equal: the value of the taint.")
    effect: TaintEffect | None = Field(default=None, description="What the taint does. Absent: any effect.")
    toleration_seconds: Annotated[int, Field(strict=True, ge=0, le=TOLERATION_SECONDS_MAX)] | None = Field(
        default=None, description="Only for NoExecute: how many seconds the pod stays. Absent: for ever."
    )

    invariants = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="is missing: only operator: Exists can do without it, and then means every taint",
            holds=lambda self: self.key is not None or self.operator == TolerationOperator.EXISTS,
            field="key",
        ),
        Rule(
            cel="!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
            message="is only for operator: Equal: leave it out",
            holds=lambda self: self.value is None or self.operator == TolerationOperator.EQUAL,
            field="value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="is only for effect: NoExecute: leave it out",
            holds=lambda self: self.toleration_seconds is None or self.effect == TaintEffect.NO_EXECUTE,
            field="tolerationSeconds",
        ),
    )


class WhenUnsatisfiable(StrEnum):
    SCHEDULE_ANYWAY = "ScheduleAnyway"
    DO_NOT_SCHEDULE = "DoNotSchedule"


class NodeInclusion(StrEnum):
    HONOR = "Honor"
    IGNORE = "Ignore"


class TopologySpreadConstraint(Shape):
    """How evenly the pods are spread over the parts of a cluster."""

    max_skew: Annotated[int, Field(strict=True, ge=1, le=SKEW_MAX)] = Field(
        description="How many pods more than another one a part may have."
    )
    topology_key: LabelKey = Field(
        description="The label of machines that tells the parts apart, such as topology.kubernetes.io/zone."
    )
    when_unsatisfiable: WhenUnsatisfiable = Field(
        description="DoNotSchedule: a pod waits rather than break it. ScheduleAnyway: it is a wish."
    )
    label_selector: LabelSelector | None = Field(
        default=None, description="The pods that count. Absent: the nodes of this broker."
    )
    min_domains: Annotated[int, Field(strict=True, ge=1, le=SKEW_MAX)] | None = Field(
        default=None, description="Only for DoNotSchedule: how many parts there must be at least."
    )
    match_label_keys: Annotated[tuple[LabelKey, ...], Items(SPREAD_LABEL_KEYS_MAX, unique=True)] = Field(
        default=(), description="Labels of the pod itself that the pods must share to count."
    )
    node_affinity_policy: NodeInclusion | None = Field(
        default=None, description="Whether machines count that nodeSelector and affinity rule out. Absent: Honor."
    )
    node_taints_policy: NodeInclusion | None = Field(
        default=None, description="Whether machines count whose taints are not tolerated. Absent: Ignore."
    )

    invariants = (
        Rule(
            cel="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            message="is only for whenUnsatisfiable: DoNotSchedule: leave it out",
            holds=lambda self: self.min_domains is None or self.when_unsatisfiable == WhenUnsatisfiable.DO_NOT_SCHEDULE,
            field="minDomains",
        ),
    )


class Affinity(Shape):
    """Which machines and which neighbours the pods want, in Kubernetes' own words."""

    node_affinity: FreeForm | None = Field(default=None, description="Machines: as nodeAffinity of a pod.")
    pod_affinity: FreeForm | None = Field(default=None, description="Neighbours: as podAffinity of a pod.")
    pod_anti_affinity: FreeForm | None = Field(
        default=None, description="Neighbours to stay away from: as podAntiAffinity of a pod."
    )


class PodMetadata(Shape):
    """What is written on each pod, besides what the operator writes."""

    labels: ChildLabels = Field(default={}, description="Labels of each pod.")
    annotations: ChildAnnotations = Field(default={}, description="Annotations of each pod.")


class PodSpec(Shape):
    """Where the pods run, and with how much: the part of a pod that is yours."""

    node_selector: Labels = Field(default={}, description="Labels that the machines must have, all of them.")
    tolerations: Annotated[tuple[Toleration, ...], Items(TOLERATIONS_MAX)] = Field(
        default=(), description="Taints of machines that the pods put up with."
    )
    affinity: Affinity | None = Field(
        default=None,
        description="Which machines and which neighbours the pods want. Absent: other machines than each "
        "other's, where there are any.",
    )
    topology_spread_constraints: Annotated[tuple[TopologySpreadConstraint, ...], Items(SPREAD_CONSTRAINTS_MAX)] = Field(
        default=(),
        description="How evenly the pods are spread. Absent: over zones and machines, as a wish.",
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="The PriorityClass of the pods. Absent: the cluster's default."
    )
    resources: Resources | None = Field(default=None, description="What each node gets of its machine.")


class PodTemplate(Shape):
    """The part of the nodes' pods that is yours."""

    metadata: PodMetadata | None = Field(
        default=None, description="Labels and annotations of each pod; the operator's own are not yours to write."
    )
    spec: PodSpec | None = Field(default=None, description="Where the pods run, and with how much.")


class PodDisruptionBudget(Shape):
    """How many nodes may be away when machines of the cluster are emptied."""

    max_unavailable: Annotated[int, Field(strict=True, ge=1, le=REPLICAS_MAX)] = Field(
        default=1, description="How many nodes may be away at a time because somebody wants so."
    )


class Autoscaling(Shape):
    """A HorizontalPodAutoscaler that sets replicas."""

    min_replicas: Annotated[int, Field(strict=True, ge=1, le=REPLICAS_MAX)] = Field(
        description="How many nodes there are at least."
    )
    max_replicas: Annotated[int, Field(strict=True, ge=1, le=REPLICAS_MAX)] = Field(
        description="How many nodes there are at most."
    )
    target_cpu_utilization: Annotated[int, Field(strict=True, ge=1, le=CPU_UTILIZATION_MAX)] | None = Field(
        default=None,
        description="How much of its requested processor a node uses on average, in percent, before one is added. "
        "Needs podTemplate.spec.resources.requests.cpu.",
    )
    target_connections_per_node: Annotated[int, Field(strict=True, ge=1, le=CONNECTIONS_PER_NODE_MAX)] | None = Field(
        default=None,
        description="How many connections a node has on average before one is added. Needs a server of custom metrics "
        "in the cluster.",
    )

    invariants = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            message="must not be more than maxReplicas",
            holds=lambda self: self.min_replicas <= self.max_replicas,
            field="minReplicas",
        ),
        Rule(
            cel="has(self.targetCPUUtilization) || has(self.targetConnectionsPerNode)",
            message="needs a target: targetCPUUtilization, targetConnectionsPerNode or both",
            holds=lambda self: self.target_cpu_utilization is not None or self.target_connections_per_node is not None,
        ),
    )
