"""What the owner of a broker hands to other namespaces: some topics, client ids and user names, and nothing else.

Knows the shape and which delegations contradict each other; does not know who is attached, or what becomes of it.
"""

from typing import Annotated, Any

from pydantic import Field

from mqtt_api.kinds.common import LabelName
from mqtt_api.kinds.markers import CEL, Items, Text, cel_text
from mqtt_api.kinds.selectors import Selector
from mqtt_api.kinds.shape import Rule, Shape, yaml_name
from mqtt_api.kinds.topic_grammar import FILTER_MESSAGE, FILTER_PATTERN
from mqtt_api.topics import SHARE_PREFIX, TopicError, validate_filter

ATTACHMENTS_MAX = 32
ATTACHED_NAMESPACES_MAX = 64
DELEGATED_TOPICS_MAX = 16
DELEGATED_TOPIC_CHARACTERS_MAX = 512  # leaves as much for what is below it
PREFIX_CHARACTERS_MAX = 128

_SHARE_MESSAGE = "must be the filter without $share/GROUP/"
_PLACEHOLDER_MESSAGE = "must not hold ${...}: what is handed over does not depend on who asks"


def _check_filter(topic: str) -> None:
    if topic.startswith(SHARE_PREFIX):
        raise ValueError(_SHARE_MESSAGE)
    if "${" in topic:
        raise ValueError(_PLACEHOLDER_MESSAGE)
    try:
        validate_filter(topic)
    except TopicError as error:
        raise ValueError(f"is not well formed: {error}") from None


DelegatedTopic = Annotated[
    str,
    Text(
        "must be a topic filter",
        characters_max=DELEGATED_TOPIC_CHARACTERS_MAX,
        check=_check_filter,
        cel=(
            CEL(f"!self.startsWith({cel_text(SHARE_PREFIX)})", _SHARE_MESSAGE),
            CEL("!self.contains('${')", _PLACEHOLDER_MESSAGE),
            CEL(f"self.matches({cel_text(FILTER_PATTERN)})", FILTER_MESSAGE),
        ),
    ),
]
Prefix = Annotated[
    str,
    Text(
        "must not hold '*', '$' or control characters",
        pattern=r"^[^*$\x00-\x1F\x7F]+$",
        characters_max=PREFIX_CHARACTERS_MAX,
    ),
]


class AttachedNamespaces(Shape):
    """The namespaces that something is handed to."""

    names: Annotated[tuple[LabelName, ...], Items(ATTACHED_NAMESPACES_MAX, count_min=1, unique=True)] | None = Field(
        default=None, description="Namespaces by name."
    )
    selector: Selector | None = Field(
        default=None,
        description="Namespaces by their labels. Needs an operator that watches the whole cluster, as namespaces have "
        "no namespace.",
    )

    invariants = (
        Rule(
            cel="has(self.names) != has(self.selector)",
            message="must have either names or selector",
            holds=lambda self: (self.names is None) != (self.selector is None),
        ),
    )


class Attachment(Shape):
    """What is handed to some namespaces: their MQTTClients and TopicPermissions may name this broker within it."""

    namespaces: AttachedNamespaces = Field(description="The namespaces it is handed to.")
    topics: Annotated[tuple[DelegatedTopic, ...], Items(DELEGATED_TOPICS_MAX, count_min=1, unique=True)] = Field(
        description="Topic filters: every topic of their TopicPermissions must be covered by one of them."
    )
    client_id_prefix: Prefix = Field(
        description="What every client id of their MQTTClients begins with, such as team-a. with the dot."
    )
    username_prefix: Prefix = Field(
        description="What every user name of their MQTTClients begins with, such as team-a. with the dot."
    )


def prefixes_are_apart(prefixes: tuple[str, ...]) -> bool:
    """True if no prefix begins with another one, so that nobody's clients can be taken for another's."""
    return all(sum(other.startswith(prefix) for other in prefixes) == 1 for prefix in prefixes)


def _prefixes_apart(field: str) -> Rule:
    name = yaml_name(field)

    def holds(shape: Any) -> bool:
        return prefixes_are_apart(tuple(getattr(attachment, field) for attachment in shape.attachments))

    apart = f"self.attachments.all(a, self.attachments.exists_one(b, b.{name}.startsWith(a.{name})))"
    message = f"must not have a {name} that another one's begins with: clients of one could be taken for the other's"
    return Rule(cel=f"!has(self.attachments) || {apart}", message=message, holds=holds, field="attachments")


ATTACHMENT_RULES = (_prefixes_apart("client_id_prefix"), _prefixes_apart("username_prefix"))
"""For the shape that has `attachments`."""
