"""What each kind of client does all day. Each role is one loop that ends by being cancelled.

Knows devices and topics; does not know faults, nodes' processes, or what is judged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from cluster.chaos.device import Device, Scene, Spec
from cluster.chaos.record import Found, Received
from mqtt_broker.wire.packets import ProtocolVersion
from support.waiting import eventually

QOS_CYCLE = (1, 2, 1, 2, 0)
BURST = 4  # messages at once: what a window and a batch have to do with each other shows only then
EXPIRY_S = 1
EXPIRING_INTERVAL_S = 0.2
RETAINED_INTERVAL_S = 0.15
DELETES_EVERY = 7
READER_INTERVAL_S = 1.0
PROBE_INTERVAL_S = 0.3
WILL_INTERVAL_S = 0.7
WILL_DELAY_S = 4
QUIET_S = 0.7
READ_S_MAX = 8.0
NAP_S = (0.3, 2.0)
LONG_NAP_S = (2.5, 4.0)
AWAKE_S = (0.3, 1.5)


async def publish_stream(device: Device, topics: tuple[str, ...], per_s: float) -> None:
    """Bursts at all qualities, spread over topics, as fast as the window lets it but not faster than `per_s`."""
    qos = count()
    while True:
        for number in range(BURST):
            await device.publish(topics[number % len(topics)], QOS_CYCLE[next(qos) % len(QOS_CYCLE)])
        await asyncio.sleep(BURST / per_s * device.scene.chance.uniform(0.5, 1.5))


async def publish_expiring(device: Device, topic: str) -> None:
    """Messages that nobody may hear after a second."""
    while True:
        await device.publish(topic, 1, expiry_s=EXPIRY_S)
        await asyncio.sleep(EXPIRING_INTERVAL_S)


async def write_retained(device: Device, topics: tuple[str, ...]) -> None:
    """New values, and now and then a deletion."""
    for number in count(1):
        topic = device.scene.chance.choice(topics)
        await device.publish(topic, 1 + number % 2, retain=True, deletes=number % DELETES_EVERY == 0)
        await asyncio.sleep(RETAINED_INTERVAL_S)


async def nap(device: Device, away_s: tuple[float, float]) -> None:
    """Leave, politely or not, and come back somewhere else."""
    chance = device.scene.chance
    while True:
        await asyncio.sleep(chance.uniform(*AWAKE_S))
        if chance.random() < 0.5:
            device.is_wanted = False
            device.cut()
        else:
            await device.leave()
        await asyncio.sleep(chance.uniform(*away_s))
        device.is_wanted = True


async def read_retained(scene: Scene, client: str, topics: str, node: str | None = None) -> dict[str, Received] | None:
    """One look at what a node has retained, by a client made for it; by topic. None: it could not get in."""
    device = Device(Spec(client=client, lasts=False, stays=False, subscriptions=((topics, 1),)), scene)
    start = len(scene.recorder.events)
    try:
        if not await device.connect(node):
            return None
        await eventually(lambda: device.is_ready or device.link is None, READ_S_MAX, "SUBACK of a reader")
        await _quiet(device)
        if device.link is None:
            return None
        receipts = [e for e in scene.recorder.events[start:] if isinstance(e, Received) and e.client == client]
        return {event.topic: event for event in receipts if event.retain}
    except AssertionError:
        return None
    finally:
        device.close()


async def _quiet(device: Device) -> None:
    """Until nothing more came for a while."""
    heard_at = asyncio.get_running_loop().time()

    def is_quiet() -> bool:
        nonlocal heard_at
        heard_at = max(heard_at, device.link.heard_at if device.link else heard_at)
        return asyncio.get_running_loop().time() - heard_at > QUIET_S

    await eventually(is_quiet, READ_S_MAX, "quiet")


async def read_now_and_then(scene: Scene, client: str, topics: str) -> None:
    """Readers at random nodes, each new."""
    for number in count():
        asked_at = scene.recorder.now()
        for topic, event in (await read_retained(scene, f"{client}-{number}", topics) or {}).items():
            scene.recorder.add(Found(scene.recorder.now(), "any", asked_at, topic, event.message))
        await asyncio.sleep(READER_INTERVAL_S)


async def probe(device: Device, prefix: str, impostor: Spec) -> None:
    """Try what is denied, and next to it what is not."""
    while True:
        for level in ("denied", "unheard", "open"):
            await device.publish(f"{prefix}/{level}/probe", 1)
        for level in ("denied", "unheard"):
            device.subscribe((f"{prefix}/{level}/#", 1))
        await try_to_get_in(device.scene, impostor)
        await asyncio.sleep(PROBE_INTERVAL_S)


async def try_to_get_in(scene: Scene, impostor: Spec) -> None:
    """One attempt with a wrong password."""
    device = Device(impostor, scene)
    await device.connect()
    device.close()


async def leave_wills(scene: Scene, client: str, topic: str, tasks: asyncio.TaskGroup) -> None:
    """Clients with wills, one after the other, each with a fate of its own."""
    fates: tuple[Callable[[Device], Awaitable[None]], ...] = (_leaves, _breaks, _comes_back, _holds)
    for number in count():
        fate = scene.chance.choice(fates)
        lasts = fate is _comes_back or scene.chance.random() < 0.5
        delay_s = WILL_DELAY_S if fate is _comes_back else scene.chance.choice((0, 1))
        name = f"{client}-{number}"
        spec = Spec(client=name, lasts=lasts, stays=False, will_topic=f"{topic}/{name}", will_delay_s=delay_s)
        tasks.create_task(_meet(Device(spec, scene), fate))
        await asyncio.sleep(WILL_INTERVAL_S)


async def _meet(device: Device, fate: Callable[[Device], Awaitable[None]]) -> None:
    try:
        if await device.connect():
            await asyncio.sleep(device.scene.chance.uniform(0.2, 2.0))
            await fate(device)
    finally:
        device.close()


async def _leaves(device: Device) -> None:
    await device.leave()


async def _breaks(device: Device) -> None:
    device.cut()


async def _comes_back(device: Device) -> None:
    device.cut()
    await asyncio.sleep(device.scene.chance.uniform(0.1, 0.5))
    if await device.connect():
        await device.leave()


async def _holds(device: Device) -> None:
    """Until a fault ends it, or long enough; then it breaks."""
    for _ in range(100):
        await asyncio.sleep(0.1)
        if device.link is None:
            return


async def storm(device: Device, interval_s: float) -> None:
    """Connect again and again without leaving first: each connection takes over from the one before."""
    while True:
        await device.connect()
        await asyncio.sleep(device.scene.chance.uniform(0.5, 1.5) * interval_s)


V3 = ProtocolVersion.V3_1_1
V5 = ProtocolVersion.V5
