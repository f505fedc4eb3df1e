"""Which image the nodes run.

Knows references to images; does not know registries, or when a change takes place.
"""

from collections.abc import Iterable

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.inputs import Inputs


def node_image(broker: MQTTBroker, inputs: Inputs) -> str:
    """The declared image, or the one of the operator's own release."""
    return inputs.image if broker.spec.image is None else broker.spec.image.reference


def is_allowed(repository: str, allowed: Iterable[str]) -> bool:
    """`allowed`: repositories, or folders of them with '/' at the end. Nothing allowed: no image of people's own."""
    return any(repository == each or (each.endswith("/") and repository.startswith(each)) for each in allowed)
