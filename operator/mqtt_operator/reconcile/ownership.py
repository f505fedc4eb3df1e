"""Whose an object is: this broker's, a former one's of the same name, or somebody else's.

Knows owner references; labels prove nothing, for anybody can write them. Pure.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from mqtt_api import keys
from mqtt_api.conditions import Reason
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.problems import MendError


class Whose(Enum):
    """FORMER: its owner, of our name, is gone, and Kubernetes is about to remove it."""

    OURS = auto()
    FORMER = auto()
    FOREIGN = auto()


def whose(found: Manifest, broker: MQTTBroker) -> Whose:
    """Judged by the owner that controls it. A volume or Secret without an owner is nobody's, and so not ours."""
    owner: Mapping[str, Any] = next(
        (each for each in found["metadata"].get("ownerReferences", ()) if each.get("controller")), {}
    )
    if owner.get("uid") == broker.metadata.uid:
        return Whose.OURS
    is_namesake = owner.get("kind") == keys.BROKER_KIND and owner.get("name") == broker.metadata.name
    return Whose.FORMER if is_namesake else Whose.FOREIGN


def require_ours(found: Manifest, broker: MQTTBroker) -> None:
    """Raises MendError unless it is; one that is being removed is waited for."""
    told = f"{found['kind']} {found['metadata']['name']}"
    match whose(found, broker):
        case Whose.FORMER:
            raise MendError(Reason.PENDING, f"{told} of a former broker of this name is being removed.")
        case Whose.FOREIGN:
            reason = Reason.SECRET_NOT_OURS if found["kind"] == "Secret" else Reason.NAME_TAKEN
            sentence = f"{told} is needed, exists, and was not made for this broker: remove it, or rename the broker."
            raise MendError(reason, sentence)
