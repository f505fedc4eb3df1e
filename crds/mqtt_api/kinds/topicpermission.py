"""TopicPermission: who may publish and subscribe to what.

Knows the shape, the grammar of topics with placeholders, and which combinations contradict each other; does not know
how rules are weighed against each other.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from mqtt_api.conditions import PENDING, Conditions
from mqtt_api.kinds.common import (
    IMMUTABLE_BROKER_REF,
    PLAIN_TEXT_PATTERN,
    BrokerRef,
    LabelName,
    Resource,
)
from mqtt_api.kinds.markers import CEL, Items, Text, cel_text
from mqtt_api.kinds.selectors import Selector
from mqtt_api.kinds.shape import Observed, Rule, Shape
from mqtt_api.kinds.topic_grammar import FILTER_MESSAGE, FILTER_PATTERN
from mqtt_api.policy import Activity, Effect, Retained, Sharing
from mqtt_api.templates import ATTRIBUTE_PREFIX, PLACEHOLDERS, check_template
from mqtt_api.topics import SHARE_PREFIX, TopicError

SUBJECTS_MAX = 64
RULES_MAX = 50
TOPICS_PER_RULE_MAX = 16  # times RULES_MAX: as many topics as the API server can afford to check the grammar of
TOPIC_CHARACTERS_MAX = 1_024
SHARED_GROUPS_MAX = 32
PRIORITY_MAX = 1_000

_KNOWN = ", ".join(f"${{{name}}}" for name in (*PLACEHOLDERS, f"{ATTRIBUTE_PREFIX}KEY"))
_NAMES = "|".join((*map(re.escape, PLACEHOLDERS), re.escape(ATTRIBUTE_PREFIX) + r"[-A-Za-z0-9_.]+"))
_PLACEHOLDERS_PATTERN = rf"^([^$]|\$+[^${{]|\$*\$\{{({_NAMES})\}})*\$*$"


class SubjectKind(StrEnum):
    MQTT_CLIENT = "MQTTClient"
    GROUP = "Group"
    AUTHENTICATED = "Authenticated"
    ANONYMOUS = "Anonymous"


def _check_topic(topic: str) -> None:
    if topic.startswith(SHARE_PREFIX):
        raise ValueError(_SHARE_MESSAGE)
    if re.fullmatch(_PLACEHOLDERS_PATTERN, topic) is None:
        raise ValueError(f"{_PLACEHOLDERS_MESSAGE}{_unknown(topic)}")
    try:
        check_template(topic)
    except TopicError as error:
        raise ValueError(f"is not well formed: {error}") from None


def _unknown(topic: str) -> str:
    """Names the first placeholder that is none, and the one that was meant if only its case is wrong."""
    for name in re.findall(r"\$\{([^}]*)\}", topic):
        if re.fullmatch(_NAMES, name) is None:
            known = name.lower() in PLACEHOLDERS
            return f"; ${{{name}}} is none" + (f", did you mean ${{{name.lower()}}}?" if known else "")
    return ""


_SHARE_MESSAGE = "must be the filter without $share/GROUP/: sharedSubscription and sharedGroups speak of sharing"
_PLACEHOLDERS_MESSAGE = f"must not hold other placeholders than {_KNOWN}"

TopicTemplate = Annotated[
    str,
    Text(
        "must be a topic filter",
        characters_max=TOPIC_CHARACTERS_MAX,
        check=_check_topic,
        cel=(
            CEL(f"!self.startsWith({cel_text(SHARE_PREFIX)})", _SHARE_MESSAGE),
            CEL(f"self.matches({cel_text(_PLACEHOLDERS_PATTERN)})", _PLACEHOLDERS_MESSAGE),
            CEL(f"self.matches({cel_text(FILTER_PATTERN)})", FILTER_MESSAGE),
        ),
    ),
]
ShareName = Annotated[
    str,
    Text(
        "must not hold '/', '+', '#' or control characters",  # MQTT 5.0, 4.8.2
        pattern=r"^[^/+#\x00-\x1F\x7F]+$",
        characters_max=128,
    ),
]


class Subject(Shape):
    """Whom the rules are for."""

    kind: SubjectKind = Field(
        description="MQTTClient: one by name, or several by selector. Group: all MQTTClients that list it. "
        "Authenticated: everybody with a name. Anonymous: everybody without one."
    )
    name: Annotated[str, Text("must not hold control characters", pattern=PLAIN_TEXT_PATTERN)] | None = Field(
        default=None, description="Name of the MQTTClient object, in the same namespace, or of the group."
    )
    selector: Selector | None = Field(
        default=None, description="Only for MQTTClient, instead of name: those in the same namespace with these labels."
    )

    invariants = (
        Rule(
            cel="self.kind != 'MQTTClient' || has(self.name) != has(self.selector)",
            message="kind MQTTClient must have either name or selector",
            holds=lambda self: self.kind != SubjectKind.MQTT_CLIENT or (self.name is None) != (self.selector is None),
        ),
        Rule(
            cel="self.kind != 'Group' || has(self.name)",
            message="kind Group must have a name: the group's",
            holds=lambda self: self.kind != SubjectKind.GROUP or self.name is not None,
        ),
        Rule(
            cel="self.kind == 'MQTTClient' || !has(self.selector)",
            message="is only for kind MQTTClient: leave it out",
            holds=lambda self: self.kind == SubjectKind.MQTT_CLIENT or self.selector is None,
            field="selector",
        ),
        Rule(
            cel="!(self.kind in ['Authenticated', 'Anonymous']) || !has(self.name)",
            message="is not for kinds Authenticated and Anonymous, which mean everybody of that sort: leave it out",
            holds=lambda self: self.kind not in (SubjectKind.AUTHENTICATED, SubjectKind.ANONYMOUS) or self.name is None,
            field="name",
        ),
    )


class PermissionRule(Shape):
    """One rule."""

    name: LabelName = Field(description="Name of the rule, unique in this permission; denials and can-i cite it.")
    effect: Effect = Field(
        description="Allow or Deny. Among the rules that match, the highest priority wins; at equal priority Deny wins."
    )
    activity: Activity = Field(description="Publish, Subscribe, or All for both.")
    topics: Annotated[tuple[TopicTemplate, ...], Items(TOPICS_PER_RULE_MAX, count_min=1, unique=True)] = Field(
        description="Topic filters, with + for one level and # for the rest. Placeholders stand for the client's own: "
        f"{_KNOWN}."
    )
    qos: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=2)], ...], Items(3, count_min=1, unique=True)] = (
        Field(default=(0, 1, 2), description="The QoS levels it is about.")
    )
    retain: Retained = Field(
        default=Retained.ALL,
        description="Only for publishing: messages that are Retained, NotRetained, or All.",
    )
    shared_subscription: Sharing = Field(
        default=Sharing.ALL,
        description="Only for subscribing: Shared subscriptions ($share/GROUP/FILTER), NotShared ones, or All.",
    )
    shared_groups: Annotated[tuple[ShareName, ...], Items(SHARED_GROUPS_MAX, count_min=1, unique=True)] | None = Field(
        default=None, description="Only for shared subscriptions: the GROUPs it is about. Absent: any."
    )

    invariants = (
        Rule(
            cel="self.activity != 'Subscribe' || !has(self.retain)",
            message="is about publishing: leave it out of a rule for Subscribe",
            holds=lambda self: self.activity != Activity.SUBSCRIBE or not self.given("retain"),
            field="retain",
        ),
        Rule(
            cel="self.activity != 'Publish' || !has(self.sharedSubscription)",
            message="is about subscribing: leave it out of a rule for Publish",
            holds=lambda self: self.activity != Activity.PUBLISH or not self.given("shared_subscription"),
            field="sharedSubscription",
        ),
        Rule(
            cel="self.activity != 'Publish' || !has(self.sharedGroups)",
            message="is about subscribing: leave it out of a rule for Publish",
            holds=lambda self: self.activity != Activity.PUBLISH or self.shared_groups is None,
            field="sharedGroups",
        ),
        Rule(
            cel="!has(self.sharedGroups) || !has(self.sharedSubscription) || self.sharedSubscription != 'NotShared'",
            message="contradicts sharedSubscription: NotShared: leave one of the two out",
            holds=lambda self: self.shared_groups is None or self.shared_subscription != Sharing.NOT_SHARED,
            field="sharedGroups",
        ),
    )


class TopicPermissionSpec(Shape):
    """Who may do what."""

    broker_ref: BrokerRef = Field(description="The broker it holds for.")
    subjects: Annotated[tuple[Subject, ...], Items(SUBJECTS_MAX, count_min=1)] = Field(
        description="Whom the rules are for."
    )
    priority: Annotated[int, Field(strict=True, ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = Field(
        default=0, description="Weight of these rules against those of other permissions: the highest wins."
    )
    rules: Annotated[tuple[PermissionRule, ...], Items(RULES_MAX, count_min=1, key="name")] = Field(
        description="What they allow or deny. Their order means nothing."
    )

    invariants = (IMMUTABLE_BROKER_REF,)


class TopicPermissionStatus(Observed):
    """What was seen of the permission."""

    observed_generation: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The metadata.generation this status was made for."
    )
    matched_clients: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="How many MQTTClients the subjects name."
    )
    applied_revision: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The revision of the policy that first held this generation on every node."
    )
    conditions: Conditions = Field(
        default=(PENDING,), description="What holds of the object; Ready is the one to wait for."
    )


class TopicPermission(Resource):
    """What clients of a broker may publish and subscribe to."""

    kind: Literal["TopicPermission"]
    spec: TopicPermissionSpec = Field(description="Who may do what.")
    status: TopicPermissionStatus = Field(
        default=TopicPermissionStatus(), description="What was seen of the permission."
    )
