"""Secrets that cert-manager wrote go with the broker or the client they are for, and nothing else of them is ours."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mqtt_operator.credentials.certificates import issue_server
from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import Component, client_labels, labels
from mqtt_operator.desired.manifest import Manifest
from support.broker_documents import CA, SHARED, tls_secret
from support.broker_rig import BrokerRig
from support.policy_api_rig import PolicyApiRig
from support.resource_examples import CLIENT, changed
from support.waiting import eventually

GONE_S_MAX = 30.0
CERT_MANAGER = "cert-manager-certificates-issuing"
ISSUED = changed(SHARED, {"spec.listeners[0].tls": {"issuerRef": {"name": "ca"}}})
NAME = "plant-mqtts-tls"


async def issue(rig: BrokerRig, **metadata: Any) -> Manifest:
    """As cert-manager does it, each time with another certificate."""
    annotations = {"cert-manager.io/certificate-name": NAME}
    marks = {"labels": labels("plant", Component.BROKER), "annotations": annotations, "namespace": rig.key.namespace}
    return await rig.raw.apply(
        changed(tls_secret(NAME), {"metadata": {"name": NAME, **marks, **metadata}}), manager=CERT_MANAGER
    )


async def owners(rig: BrokerRig, name: str = NAME) -> list[Manifest]:
    secret = await rig.get(kinds.SECRET, name)
    assert secret is not None
    owners: list[Manifest] = secret["metadata"].get("ownerReferences", [])
    return owners


async def served(rig: BrokerRig) -> None:
    await rig.declare(ISSUED)
    await rig.run()  # it asks for the certificate
    await issue(rig)
    await rig.settle()


async def test_a_private_key_goes_with_its_broker(rig: BrokerRig) -> None:
    await served(rig)
    (owner,) = await owners(rig)
    assert (owner["kind"], owner["name"]) == ("MQTTBroker", "plant")
    assert "controller" not in owner  # that may be its Certificate, as cert-manager can be told
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)

    async def is_gone() -> bool:
        return await rig.get(kinds.SECRET, NAME) is None

    await eventually(is_gone, GONE_S_MAX, "the key is gone")


def assert_only_its_owner_is_ours(secret: Manifest, renewed: Manifest) -> None:
    assert secret["data"] == renewed["data"]
    (ours,) = [each for each in secret["metadata"]["managedFields"] if each["manager"] == "stoa-operator-owner"]
    assert list(ours["fieldsV1"]) == ["f:metadata"]
    assert list(ours["fieldsV1"]["f:metadata"]) == ["f:ownerReferences"]


async def test_a_renewed_certificate_leaves_its_owner_and_nothing_of_it_becomes_ours(rig: BrokerRig) -> None:
    await served(rig)
    before = await owners(rig)
    renewed = await issue(rig)
    await rig.settle()
    assert await owners(rig) == before
    secret = await rig.get(kinds.SECRET, NAME)
    assert secret is not None
    assert_only_its_owner_is_ours(secret, renewed)


async def test_what_has_its_owner_is_not_written_again(rig: BrokerRig) -> None:
    await served(rig)
    rig.restart()
    await rig.run()
    assert f"apply Secret {NAME}" not in rig.kube.writes


async def test_the_owner_of_a_former_broker_is_replaced(rig: BrokerRig) -> None:
    await served(rig)
    (former,) = await owners(rig)
    await rig.raw.patch(kinds.SECRET, rig.key.namespace, NAME, {"metadata": {"finalizers": ["example.org/hold"]}})
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)
    await rig.raw.patch(kinds.SECRET, rig.key.namespace, NAME, {"metadata": {"finalizers": None}})

    async def is_gone() -> bool:
        return await rig.get(kinds.SECRET, NAME) is None

    await eventually(is_gone, GONE_S_MAX, "that of the former one is gone")
    rig.restart()
    await served(rig)
    (owner,) = await owners(rig)
    assert owner["uid"] != former["uid"]


async def test_a_secret_of_the_people_s_own_is_never_touched(rig: BrokerRig) -> None:
    await rig.declare(tls_secret("server"))
    await rig.declare(SHARED)
    await rig.declare(changed(tls_secret(NAME), {"metadata.labels": labels("plant", Component.BROKER)}))
    await rig.settle()
    assert await owners(rig, "server") == []
    assert await owners(rig) == []
    assert [write for write in rig.kube.writes if write.endswith((" server", NAME))] == []


async def test_a_secret_that_nothing_says_cert_manager_wrote_is_never_touched(rig: BrokerRig) -> None:
    await rig.declare(ISSUED)
    await rig.run()
    await issue(rig, annotations={})
    await rig.settle()
    assert await owners(rig) == []


async def test_that_of_a_listener_that_is_no_more_is_removed_though_the_broker_owns_it(rig: BrokerRig) -> None:
    await served(rig)
    await rig.declare(tls_secret("server"))
    await rig.declare(SHARED)
    await rig.settle()
    assert await rig.get(kinds.SECRET, NAME) is None


# Of clients

CLIENT_NAME = "pump-7-tls"
CREDENTIALS = {"certificates": [{"issuerRef": {"name": "device-ca"}, "secretName": CLIENT_NAME}]}


async def issue_for_client(rig: PolicyApiRig, common_name: str = "pump-7", **metadata: Any) -> Manifest:
    """As cert-manager does it, each time with another certificate."""
    annotations = {"cert-manager.io/certificate-name": CLIENT_NAME}
    marks = {"labels": client_labels(), "annotations": annotations, "namespace": rig.key.namespace}
    pair = issue_server(CA, [common_name], datetime.now(UTC))
    document = changed(tls_secret(CLIENT_NAME, pair=pair), {"metadata": {"name": CLIENT_NAME, **marks, **metadata}})
    return await rig.raw.apply(document, manager=CERT_MANAGER)


async def client_owners(rig: PolicyApiRig) -> list[Manifest]:
    owners: list[Manifest] = (await rig.get(kinds.SECRET, CLIENT_NAME))["metadata"].get("ownerReferences", [])
    return owners


async def served_client(rig: PolicyApiRig) -> None:
    await rig.declare(CLIENT, "pump-7", spec__credentials=CREDENTIALS)
    await rig.settle(1)  # it asks for the certificate
    await issue_for_client(rig)
    await rig.settle()
    assert await rig.condition(kinds.MQTT_CLIENT, "pump-7", "Ready") == ("True", "Synced")


async def test_a_private_key_goes_with_its_client(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await served_client(rig)
    (owner,) = await client_owners(rig)
    assert (owner["kind"], owner["name"]) == ("MQTTClient", "pump-7")
    assert "controller" not in owner  # that may be its Certificate, as cert-manager can be told
    await rig.raw.delete(kinds.MQTT_CLIENT, rig.key.namespace, "pump-7")

    async def is_gone() -> bool:
        return await rig.raw.get(kinds.SECRET, rig.key.namespace, CLIENT_NAME) is None

    await eventually(is_gone, GONE_S_MAX, "the key is gone")


async def test_a_client_s_renewed_certificate_leaves_its_owner_and_nothing_of_it_becomes_ours(
    policy_rig: PolicyApiRig,
) -> None:
    rig = policy_rig
    await served_client(rig)
    before = await client_owners(rig)
    renewed = await issue_for_client(rig)
    await rig.settle()
    assert await client_owners(rig) == before
    secret = await rig.get(kinds.SECRET, CLIENT_NAME)
    assert_only_its_owner_is_ours(secret, renewed)
    rig.restart()
    await rig.settle()
    assert f"apply Secret {CLIENT_NAME}" not in rig.kube.writes  # what has its owner is not written again


async def test_a_key_that_was_taken_away_gets_its_owner_again(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await served_client(rig)
    (before,) = await client_owners(rig)
    await rig.raw.delete(kinds.SECRET, rig.key.namespace, CLIENT_NAME)
    await rig.settle(1)
    await issue_for_client(rig)
    await rig.settle()
    assert await client_owners(rig) == [before]


@pytest.mark.parametrize("case", [{"annotations": {}}, {"common_name": "pump-8"}, {"labels": {}}], ids=str)
async def test_a_secret_that_is_not_known_to_be_issued_for_this_client_is_never_touched(
    policy_rig: PolicyApiRig, case: dict[str, Any]
) -> None:
    rig = policy_rig
    await rig.declare(CLIENT, "pump-7", spec__credentials=CREDENTIALS)
    await rig.settle(1)
    await issue_for_client(rig, **case)
    await rig.settle()
    assert await client_owners(rig) == []
    assert f"apply Secret {CLIENT_NAME}" not in rig.kube.writes
