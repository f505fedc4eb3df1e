"""Releases that follow each other: nodes of two of them work together, operators roll brokers, and all of it goes back.

The release before this one has another version, words in its leases that this one does not know, an older form of what
nodes send each other, and other scripts; it refuses settings as this one writes them. A foreign one lays out stores
otherwise.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cluster.chaos.link import Door
from support.kube import loaded
from support.kube.knock import knock
from support.kube.loaded import EARLIER_TAG, FOREIGN_TAG
from support.kube.plant import PLAIN, Manifest, Plant
from support.kube.product_image import TAG
from support.kube.traffic import FewestReady, Looking, do, images, is_ready, traffic

STEP_S_MAX = 300.0
MIXED_S = 45.0
STILL_S = 20.0  # longer than any pass of an operator takes to come

ANYBODY = [{"name": "anyone", "type": "Anonymous"}]
LISTENERS = [{"name": "mqtt", "port": PLAIN, "allowPlaintext": True, "authentication": ANYBODY}]
EARLIER, CURRENT = "0.0.9", "0.1.0"


@pytest.fixture(scope="module")
def plant(settle: Callable[..., Plant]) -> Plant:
    """An operator of the release before this one."""
    plant = settle()
    loaded.load(plant.place, [loaded.earlier_product, loaded.foreign_product])
    plant.upgrade_operator(EARLIER_TAG)
    return plant


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    """Three nodes of that release, that let anybody in."""
    _declare(plant, 3)
    assert plant.status()["version"] == EARLIER
    return plant


@pytest.fixture(autouse=True)
def _as_the_operator_wants(running: Plant) -> None:
    """Each test begins with nodes of the operator's release, whatever the one before has left."""
    _pause(running, "false")
    running.patch({"image": None})
    running.wait_ready(3, STEP_S_MAX)


@pytest.fixture(scope="module")
def beside(running: Plant) -> Plant:
    """Another broker in the same place: two nodes."""
    other = replace(running, name="annex")
    _declare(other, 2)
    return other


async def test_nodes_of_two_releases_work_together(running: Plant) -> None:
    """One node is of this release, the others are of the one before, for a while; then it goes back."""
    async with traffic(running, "mixed"):
        await do(running.patch, {"image": _image(TAG)})
        await do(running.wait, lambda: TAG in _declared(running), STEP_S_MAX, "one node is replaced")
        await do(_pause, running, "true")
        await do(_wait_images, running, [EARLIER_TAG, EARLIER_TAG, TAG])
        await asyncio.sleep(MIXED_S)
        assert sorted(images(running)) == sorted([EARLIER_TAG, EARLIER_TAG, TAG])
        await do(running.patch, {"image": None})
        await do(_pause, running, "false")
        await do(_wait_images, running, [EARLIER_TAG] * 3)
        await do(running.wait_ready, 3)
    assert running.restarts() == 0
    assert running.status()["version"] == EARLIER


async def test_a_new_operator_rolls_its_brokers_one_at_a_time(running: Plant, beside: Plant) -> None:
    looks = _Turns([running, beside], TAG)
    fewest = [FewestReady(each) for each in (running, beside)]
    async with traffic(running, "upgrade-1"), traffic(beside, "upgrade-2", sessions=100):
        with looks, fewest[0], fewest[1]:
            await do(running.upgrade_operator, TAG)
            for each, count in ((running, 3), (beside, 2)):
                await do(_wait_images, each, [TAG] * count)
                await do(each.wait_ready, count)
    assert [each.status()["version"] for each in (running, beside)] == [CURRENT] * 2
    assert [each.ready for each in fewest] == [2, 1]
    assert looks.most_at_once == 1
    assert looks.seen == {"plant", "annex"}
    assert _restarts(running) == 0


async def test_an_operator_that_goes_back_takes_its_brokers_along_but_those_that_are_held(
    running: Plant, beside: Plant
) -> None:
    """A broker with upgradePolicy Manual is looked after by an operator of another release, until it is told to go."""
    await do(beside.patch, {"upgradePolicy": "Manual"})
    await do(beside.wait_ready, 2)
    async with traffic(running, "back-1"), traffic(beside, "back-2", sessions=100):
        await do(running.upgrade_operator, EARLIER_TAG)
        await do(_wait_images, running, [EARLIER_TAG] * 3)
        await do(running.wait_ready, 3)
        await do(beside.wait, lambda: _available(beside) == EARLIER, STEP_S_MAX, "what is available is shown")
        await do(_scale, beside, 3)
        await asyncio.sleep(STILL_S)
        assert images(beside) == [TAG] * 3
        assert beside.status()["version"] == CURRENT
        await do(_scale, beside, 2)
        await do(beside.patch, {"upgradePolicy": "Automatic"})
        await do(_wait_images, beside, [EARLIER_TAG] * 2)
        await do(beside.wait_ready, 2)
    assert _available(beside) is None
    assert _restarts(running) == 0


async def test_a_release_that_cannot_read_the_store_stops_at_the_first_node(running: Plant) -> None:
    """The others serve on; nothing is lost; taken back, the rollout mends itself."""
    fewest = FewestReady(running)
    async with traffic(running, "foreign"):
        with fewest:
            await do(running.patch, {"image": _image(FOREIGN_TAG)})
            await do(_wait_stalled, running, "this store is laid out in form 1, and this release reads form 9")
            await asyncio.sleep(STILL_S)
            assert sorted(_declared(running)) == sorted([EARLIER_TAG, EARLIER_TAG, FOREIGN_TAG])
            assert len(_ready(running)) == 2
            await do(running.patch, {"image": None})
            await do(_wait_images, running, [EARLIER_TAG] * 3)
            await do(running.wait_ready, 3)
    assert fewest.ready == 2
    assert running.condition("Stalled")["status"] == "False"


def test_a_node_that_cannot_read_its_own_file_leaves_it_as_it_is(running: Plant) -> None:
    alone = replace(running, name="alone")
    alone.apply(alone.broker(replicas=1, sessionStore={"embedded": {}}, listeners=LISTENERS))
    alone.apply(_everything(alone))
    alone.wait_ready(1)
    alone.patch({"image": _image(FOREIGN_TAG)})
    _wait_stalled(alone, "has format 1, this broker reads 9")
    alone.patch({"image": None})
    alone.wait_ready(1)
    assert knock(Door(PLAIN, alone.address()), "somebody") == 0


# Doing ---------------------------------------------------------------------------------------------------------------


def _declare(plant: Plant, replicas: int) -> None:
    plant.apply(plant.broker(replicas=replicas, listeners=LISTENERS), _everything(plant))
    plant.wait_ready(replicas)
    plant.wait_settled("topicpermission", f"{plant.name}-everything")


def _everything(plant: Plant) -> Manifest:
    return plant.permission(f"{plant.name}-everything", [{"kind": "Anonymous"}], ["#"])


def _image(tag: str) -> Manifest:
    repository, _, name = tag.rpartition(":")
    return {"repository": repository, "tag": name}


def _scale(plant: Plant, replicas: int) -> None:
    plant.patch({"replicas": replicas})
    plant.wait_ready(replicas)


def _pause(plant: Plant, whether: str) -> None:
    plant.annotate("mqttbroker", plant.name, **{"mqtt.stoa.dev/pause-reconciliation": whether})


def _wait_images(plant: Plant, wanted: Sequence[str]) -> None:
    plant.wait(lambda: sorted(images(plant)) == sorted(wanted), STEP_S_MAX, f"{plant.name} runs {wanted}")


def _wait_stalled(plant: Plant, why: str) -> None:
    started = time.monotonic()

    def is_stalled() -> bool:
        condition = plant.condition("Stalled")
        return bool(
            condition["status"] == "True" and condition["reason"] == "RolloutStuck" and why in condition["message"]
        )

    plant.wait(is_stalled, STEP_S_MAX, f"{plant.name} is Stalled: {why}")
    print(f"{plant.name}: Stalled after {time.monotonic() - started:.1f} s: {plant.condition('Stalled')['message']}")


# Seeing --------------------------------------------------------------------------------------------------------------


class _Turns(Looking):
    """How many brokers have nodes on their way to another image, at one moment. `seen`: those that ever had."""

    def __init__(self, plants: Sequence[Plant], target: str) -> None:
        super().__init__(self._count)
        self.most_at_once = 0
        self.seen: set[str] = set()
        self._plants = plants
        self._target = target

    def _count(self) -> None:
        selector = "--selector=app.kubernetes.io/component=broker"
        listed = json.loads(self._plants[0].kubectl("get", "pods", selector, "-o", "json"))["items"]
        under_way = {each.name for each in self._plants if self._is_under_way(_pods_of(each.name, listed))}
        self.seen |= under_way
        self.most_at_once = max(self.most_at_once, len(under_way))

    def _is_under_way(self, pods: Sequence[Any]) -> bool:
        """Some are there already and some not; one that leaves has been told to for this."""
        arrived = [pod["spec"]["containers"][0]["image"] == self._target and is_ready(pod) for pod in pods]
        has_begun = any(pod["spec"]["containers"][0]["image"] == self._target for pod in pods)
        return (has_begun or any("deletionTimestamp" in pod["metadata"] for pod in pods)) and not all(arrived)


def _pods_of(broker: str, listed: Sequence[Any]) -> list[Any]:
    return [pod for pod in listed if pod["metadata"]["labels"]["app.kubernetes.io/instance"] == broker]


def _declared(plant: Plant) -> list[str]:
    """Of all nodes, whether they run or not."""
    return [pod["spec"]["containers"][0]["image"] for pod in plant.pods().values()]


def _ready(plant: Plant) -> list[str]:
    return [name for name, pod in plant.pods().items() if is_ready(pod)]


def _available(plant: Plant) -> str | None:
    """The release that waits until somebody wants it."""
    version: str | None = plant.status().get("availableVersion")
    return version


def _restarts(plant: Plant) -> int:
    """Of the containers of nodes."""
    return sum(sum(_restarts_of(pod)) for pod in plant.pods().values())


def _restarts_of(pod: Manifest) -> Iterator[int]:
    for one in pod["status"].get("containerStatuses", []):
        yield int(one["restartCount"])
