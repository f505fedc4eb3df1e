"""What the store of a broker is called before anybody has looked at it.

Knows whose the store is by what is declared; does not know what a store says of itself (store.py). An identity stands
in the broker's status from its first pass on, and is never made twice for one broker.
"""

import uuid
from hashlib import sha256

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import ACCEPT_STORE_ANNOTATION

IDENTITY_CHARACTERS = 32


def new_identity(broker: MQTTBroker) -> str:
    """For a broker whose status has none.

    A store of the operator's own lies on a volume that is named after the broker, so its identity is too: whoever makes
    the broker anew goes on with what the volume kept. A Redis of the people's own is not named after anybody.
    """
    if broker.spec.session_store.redis is not None:
        return uuid.uuid4().hex
    return sha256(broker.reference.encode()).hexdigest()[:IDENTITY_CHARACTERS]


def accepted_identity(broker: MQTTBroker, status: Manifest) -> str:
    """That of the status, or, for an embedded store, the one that a person accepts by name. The status must have one.

    Only its node sees the file, and names what it found when it refuses it. A node that serves has the right one.
    """
    known: str = status["storeID"]
    accepted = broker.metadata.annotations.get(ACCEPT_STORE_ANNOTATION, "")
    is_waited_for = broker.spec.session_store.embedded is not None and not status.get("readyReplicas")
    return accepted if is_waited_for and len(accepted) == IDENTITY_CHARACTERS else known
