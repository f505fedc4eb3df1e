"""The policy's story at a real API server: what it makes there, what it tells, and what it leaves alone."""

import base64

from mqtt_api.policy import decode_policy
from mqtt_operator.desired.kinds import EVENT, MQTT_BROKER, MQTT_CLIENT, SECRET, TOPIC_PERMISSION
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.exchange import EmbeddedPlace
from support.policy_api_rig import PolicyApiRig
from support.policy_rig import WORLD
from support.resource_examples import CLIENT, PERMISSION

GENERATE = {"passwords": [{"generate": {"secretName": "pump-7-mqtt", "every": "1h", "overlap": "10m"}}]}
CERTIFICATE = {"certificates": [{"match": {"commonName": "pump-7"}}]}


async def events_of(rig: PolicyApiRig) -> list[Manifest]:
    """Of clients and permissions, the first one first."""
    found = await rig.raw.list(EVENT, rig.key.namespace)
    told = [each for each in found if each["regarding"]["kind"] in ("MQTTClient", "TopicPermission")]
    return sorted(told, key=lambda each: str(each["eventTime"]))


async def test_statuses_fit_the_schema_and_are_written_once(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await rig.declare(CLIENT, "pump-7", spec__credentials=CERTIFICATE, spec__groups=["pumps"])
    await rig.declare(PERMISSION, "pumps")
    await rig.settle()
    client, permission = await rig.get(MQTT_CLIENT, "pump-7"), await rig.get(TOPIC_PERMISSION, "pumps")
    assert (client["status"]["username"], client["status"]["appliedRevision"]) == ("pump-7", 0)
    assert (permission["status"]["matchedClients"], permission["status"]["appliedRevision"]) == (1, 0)
    for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
        assert await rig.condition(kind, name, "Ready") == ("True", "Synced")
    rig.restart()
    await rig.settle()
    assert rig.kube.writes == []
    after = await rig.get(MQTT_CLIENT, "pump-7")
    assert after["metadata"]["resourceVersion"] == client["metadata"]["resourceVersion"]


async def test_a_client_that_is_refused_gets_an_event_once_and_another_when_it_is_mended(
    policy_rig: PolicyApiRig,
) -> None:
    rig = policy_rig
    await rig.declare(CLIENT, "pump-7", spec__credentials=CERTIFICATE)
    await rig.declare(PERMISSION, "pumps")
    await rig.settle()
    assert await events_of(rig) == []  # objects that are fine
    await rig.declare(CLIENT, "pump-8", spec__credentials=CERTIFICATE, spec__username="pump-7")
    await rig.settle()
    refused = await rig.get(MQTT_CLIENT, "pump-8")
    (event,) = await events_of(rig)
    assert (event["type"], event["reason"]) == ("Warning", "UsernameTaken")
    assert event["regarding"]["uid"] == refused["metadata"]["uid"]
    assert event["note"] in {each["message"] for each in refused["status"]["conditions"]}
    rig.restart()
    await rig.settle()
    assert len(await events_of(rig)) == 1
    await rig.declare(CLIENT, "pump-8", spec__credentials=CERTIFICATE, spec__username="pump-8")
    await rig.settle()
    assert [(each["type"], each["reason"], each["regarding"]["name"]) for each in await events_of(rig)] == [
        ("Warning", "UsernameTaken", "pump-8"),
        ("Normal", "Ready", "pump-8"),
    ]


async def test_a_status_leaves_conditions_of_others_alone(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await rig.declare(CLIENT, "pump-7", spec__credentials=CERTIFICATE)
    foreign = {
        "type": "example.org/Checked",
        "status": "True",
        "reason": "Fine",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await rig.raw.patch_status(MQTT_CLIENT, rig.key.namespace, "pump-7", {"conditions": [foreign]}, manager="else")
    await rig.settle()
    assert await rig.condition(MQTT_CLIENT, "pump-7", "example.org/Checked") == ("True", "Fine")
    assert await rig.condition(MQTT_CLIENT, "pump-7", "Ready") == ("True", "Synced")
    assert rig.kube.writes.count("status MQTTClient pump-7") <= 2


async def test_a_generated_password_is_replaced_and_nothing_of_the_old_one_stays(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    await rig.settle()
    first = (await rig.get(SECRET, "pump-7-mqtt"))["data"]["password"]
    assert await rig.condition(MQTT_CLIENT, "pump-7", "Ready") == ("True", "Synced")
    await rig.raw.patch(
        SECRET, rig.key.namespace, "pump-7-mqtt", {"metadata": {"labels": {"team": "a"}}}, manager="somebody"
    )
    rig.later(hours=1)
    await rig.settle()
    both = (await rig.get(SECRET, "pump-7-mqtt"))["data"]
    assert both["previous-password"] == first
    assert both["password"] != first
    assert "next-password" not in both
    assert len(rig.store.policy().principals["pump-7"].passwords) == 2
    rig.later(minutes=10)
    await rig.settle()
    alone = await rig.get(SECRET, "pump-7-mqtt")
    assert "previous-password" not in alone["data"]
    assert "mqtt.stoa.dev/previous-password-until" not in alone["metadata"]["annotations"]
    assert alone["metadata"]["labels"]["team"] == "a"
    assert len(rig.store.policy().principals["pump-7"].passwords) == 1


async def test_a_secret_that_we_did_not_make_is_left_as_it_is(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    theirs = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "theirs"}}
    theirs["metadata"] = {"name": "pump-7-mqtt", "namespace": rig.key.namespace}
    await rig.raw.create(theirs, manager="somebody")
    before = await rig.get(SECRET, "pump-7-mqtt")
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    await rig.settle()
    assert await rig.get(SECRET, "pump-7-mqtt") == before
    assert await rig.condition(MQTT_CLIENT, "pump-7", "ResolvedRefs") == ("False", "SecretNotOurs")


async def test_an_embedded_store_reads_a_secret_that_goes_with_the_broker(policy_rig: PolicyApiRig) -> None:
    rig = policy_rig
    rig.place = EmbeddedPlace(world=WORLD)
    rig.restart()
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    for _ in range(4):
        await rig.run()
    written = await rig.get(SECRET, "plant-policy")
    broker = await rig.get(MQTT_BROKER, "plant")
    assert [owner["uid"] for owner in written["metadata"]["ownerReferences"]] == [broker["metadata"]["uid"]]
    policy = decode_policy(base64.b64decode(written["data"]["policy.json"]))
    assert len(policy.principals["pump-7"].passwords) == 1
    rig.restart()
    rig.hasher.hashed = 0
    for _ in range(2):
        await rig.run()
    assert await rig.get(SECRET, "plant-policy") == written
    assert rig.hasher.hashed == 0
