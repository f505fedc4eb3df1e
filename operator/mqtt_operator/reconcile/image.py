"""Which image the nodes of a broker run in this pass, and which version that is called.

Knows the operator's release and the StatefulSet as it is; does not know the rules (rollout/upgrade.py).
"""

from msgspec import Struct

from mqtt_api.conditions import Reason
from mqtt_api.kinds.images import Image
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.image import is_allowed
from mqtt_operator.desired.labels import VERSION_LABEL
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.surroundings import Surroundings
from mqtt_operator.rollout.upgrade import Choice, Wishes, choose_image
from mqtt_operator.status.verdict import Problem

LABEL_CHARACTERS_MAX = 63
DIGEST_CHARACTERS = 12


class Chosen(Struct, frozen=True, kw_only=True):
    """`choice` of the image; `version`: what stands in labels for it."""

    choice: Choice
    version: str


def image_problem(broker: MQTTBroker, surroundings: Surroundings) -> Problem | None:
    """An image that this operator runs for nobody; None: there is none such."""
    managed = broker.spec.session_store.managed
    asked = {
        "spec.image": broker.spec.image,
        "spec.sessionStore.managed.image": None if managed is None else managed.image,
    }
    for field, image in asked.items():
        if image is not None and not is_allowed(image.repository, surroundings.allowed_repositories):
            sentence = (
                f"{field}: {image.repository} is in none of the repositories that the operator allows: leave the field "
                "out, or have that repository allowed where the operator is installed."
            )
            return Problem(Reason.IMAGE_NOT_ALLOWED, sentence)
    return None


def choose(
    broker: MQTTBroker, surroundings: Surroundings, stateful_set: Manifest | None, before_us: BrokerKey | None
) -> Chosen:
    """`before_us`: the broker whose upgrade comes first."""
    asked = broker.spec.image
    wishes = Wishes(
        asked=None if asked is None else asked.reference,
        policy=broker.spec.upgrade_policy,
        running=None if stateful_set is None else running_image(stateful_set),
        release=surroundings.image,
        before_us=None if before_us is None else str(before_us),
    )
    choice = choose_image(wishes)
    if asked is not None:
        return Chosen(choice=choice, version=_version_of(asked))
    if choice.held and stateful_set is not None:
        return Chosen(choice=choice, version=_running_version(stateful_set) or surroundings.version)
    return Chosen(choice=choice, version=surroundings.version)


def running_image(stateful_set: Manifest) -> str | None:
    """What its template says; None: it has no container of ours."""
    for container in stateful_set["spec"]["template"]["spec"]["containers"]:
        if container["name"] == names.NODE_CONTAINER:
            image: str = container["image"]
            return image
    return None


def _running_version(stateful_set: Manifest) -> str | None:
    version: str | None = stateful_set["metadata"].get("labels", {}).get(VERSION_LABEL)
    return version


def _version_of(image: Image) -> str:
    """Nobody knows what is in an image of people's own; a new release of the operator must not look like a new one."""
    if image.tag is not None:
        return image.tag[:LABEL_CHARACTERS_MAX].rstrip("-_.")
    assert image.digest is not None
    return image.digest.removeprefix("sha256:")[:DIGEST_CHARACTERS]
