"""What a store is called before anybody has looked at it."""

from typing import Any

import pytest

from mqtt_api.resources import MQTTBroker
from mqtt_operator.reconcile.identity import accepted_identity, new_identity
from support.broker_documents import EMBEDDED, MANAGED, SHARED

FOUND = "7d0a" * 8


def declared(base: dict[str, Any], **metadata: Any) -> MQTTBroker:
    return MQTTBroker.model_validate({**base, "metadata": {**base["metadata"], **metadata}})


@pytest.mark.parametrize("base", [EMBEDDED, MANAGED], ids=["embedded", "managed"])
def test_a_store_of_the_operators_own_is_called_after_the_broker_whose_volume_it_lies_on(base: dict[str, Any]) -> None:
    first, again = new_identity(declared(base)), new_identity(declared(base, uid="another", generation=7))
    assert first == again
    others = {new_identity(declared(base, name="pumps")), new_identity(declared(base, namespace="other"))}
    assert len({first, *others}) == 3


def test_a_redis_of_the_peoples_own_is_called_after_nobody() -> None:
    """Who was there under this name before may have been somebody else: only a person can tell."""
    assert new_identity(declared(SHARED)) != new_identity(declared(SHARED))


def annotated(base: dict[str, Any], value: str) -> MQTTBroker:
    return declared(base, annotations={"mqtt.stoa.dev/accept-store": value})


def test_a_person_accepts_what_the_file_of_a_waiting_node_is_called() -> None:
    assert accepted_identity(annotated(EMBEDDED, FOUND), {"storeID": "mine", "readyReplicas": 0}) == FOUND
    assert accepted_identity(annotated(EMBEDDED, FOUND), {"storeID": "mine"}) == FOUND


@pytest.mark.parametrize(
    ("accepts", "status"),
    [
        pytest.param(declared(EMBEDDED), {"readyReplicas": 0}, id="nothing is accepted"),
        pytest.param(annotated(EMBEDDED, FOUND), {"readyReplicas": 1}, id="the node serves"),
        pytest.param(annotated(EMBEDDED, "true"), {"readyReplicas": 0}, id="no identity"),
        pytest.param(annotated(MANAGED, FOUND), {"readyReplicas": 0}, id="whoever asks the store compares"),
        pytest.param(annotated(SHARED, FOUND), {"readyReplicas": 0}, id="a Redis of the people's own"),
    ],
)
def test_otherwise_the_identity_stays(accepts: MQTTBroker, status: dict[str, Any]) -> None:
    assert accepted_identity(accepts, {"storeID": "mine", **status}) == "mine"
