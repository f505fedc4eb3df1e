"""The operator ends at every step it takes, and the next one gets to the same place."""

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import children_selector
from mqtt_operator.desired.manifest import Manifest
from support.broker_documents import MANAGED, SHARED, tls_secret
from support.broker_rig import BrokerRig, OperatorKilled
from support.resource_examples import changed

STEPS_MAX = 60  # calls of the longest pass, and then some
LOOKED_THROUGH = (
    kinds.SERVICE_ACCOUNT,
    kinds.NETWORK_POLICY,
    kinds.CONFIG_MAP,
    kinds.SERVICE,
    kinds.STATEFUL_SET,
    kinds.POD_DISRUPTION_BUDGET,
)


async def shape(rig: BrokerRig) -> list[Manifest]:
    """What is there in the end, without what differs from one object to the next that is made of the same."""
    selector = children_selector(rig.key.name)
    found = [each for kind in LOOKED_THROUGH for each in await rig.raw.list(kind, rig.key.namespace, selector)]
    return [
        {"kind": each["kind"], "name": each["metadata"]["name"], "labels": each["metadata"]["labels"], **_content(each)}
        for each in sorted(found, key=lambda each: (str(each["kind"]), str(each["metadata"]["name"])))
    ]


def _content(manifest: Manifest) -> Manifest:
    """The spec without addresses and revisions, which no two objects share."""
    spec = dict(manifest.get("spec", {}))
    for field in ("clusterIP", "clusterIPs", "template"):
        spec.pop(field, None)
    return {"spec": spec}


async def killed_at(rig: BrokerRig, calls: int) -> bool:
    """One pass that ends after so many calls. False: it got through."""
    rig.restart()
    rig.play_policy()
    rig.kube.calls_left = calls
    try:
        await rig.run()
    except OperatorKilled:
        return True
    finally:
        rig.kube.calls_left = None
    return False


async def finish(rig: BrokerRig) -> None:
    rig.restart()
    await rig.run()
    await rig.play()
    await rig.settle()


@pytest.mark.parametrize("document", [SHARED, MANAGED], ids=["shared", "managed"])
async def test_a_broker_that_is_being_made(document: Manifest, rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(document)
    for calls in range(STEPS_MAX):
        if not await killed_at(rig, calls):
            break
        await rig.play()
    else:
        raise AssertionError("no pass gets through")
    await finish(rig)
    assert (await rig.condition("Ready"))[0] == "True"
    assert (await rig.status())["storeID"] == rig.store.world
    there = await shape(rig)
    other = BrokerRig(rig.raw, rig.key.namespace, rig.folder)
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)
    for kind in (*LOOKED_THROUGH, kinds.SECRET):
        for each in await rig.raw.list(kind, rig.key.namespace, children_selector("plant")):
            await rig.raw.delete(kind, rig.key.namespace, each["metadata"]["name"])
    for pod in await rig.raw.list(kinds.POD, rig.key.namespace):
        await rig.raw.delete(kinds.POD, rig.key.namespace, pod["metadata"]["name"])
    await other.declare(document)
    await other.settle()
    assert await shape(other) == there


async def test_a_rollout(rig: BrokerRig) -> None:
    """Killed at every call of every pass: never are two nodes away, each is replaced exactly once."""
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await rig.settle()
    rig.workloads.made.clear()
    await rig.annotate(restartedAt="now")
    for calls in range(STEPS_MAX):
        got_through = not await killed_at(rig, calls)
        assert len(await rig.workloads.pods("plant")) >= 2
        await rig.play()
        if got_through:
            break
    await finish(rig)
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]


async def test_a_broker_that_shrinks(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(changed(SHARED, {"spec.replicas": 5}))
    await rig.settle()
    await rig.scale(2)
    for calls in range(STEPS_MAX):
        before = len(await rig.workloads.pods("plant"))
        got_through = not await killed_at(rig, calls)
        await rig.play()
        assert before - len(await rig.workloads.pods("plant")) <= 1
        if got_through and len(await rig.workloads.pods("plant")) == 2:
            break
    await finish(rig)
    assert rig.workloads.deleted == ["plant-4", "plant-3", "plant-2"]


async def test_an_api_server_that_is_away_in_the_middle_changes_no_status(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await rig.settle()
    before = await rig.status()
    await rig.scale(4)
    for calls in range(1, 6):
        rig.kube.calls_left, rig.kube.away = calls, True
        with pytest.raises(Exception, match="The API server does not answer"):
            await rig.run()
        rig.kube.calls_left, rig.kube.away = None, False
        assert await rig.status() == before
    await rig.settle()
    assert (await rig.status())["replicas"] == 4
