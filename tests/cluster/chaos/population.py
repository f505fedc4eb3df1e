"""Everybody who takes part in a round: who is there, what each does, and how they are all brought to rest.

Knows roles and topics; does not know processes, faults or judges. Names begin with the round's, so that rounds on one
cluster do not meet.
"""

import asyncio
from collections.abc import Coroutine

from msgspec import Struct

from cluster.chaos import roles
from cluster.chaos.device import Device, Scene, Spec
from cluster.chaos.record import Found, Received
from cluster.chaos.roles import V3, V5
from mqtt_api.policy import Activity, Policy
from support import policies
from support.waiting import NotInTimeError, eventually

GUARD = "guard"
STREAM_TOPICS = 3
GROUP_TOPICS = 2
RETAINED_TOPICS = 4
READY_S_MAX = 60.0
READER_ATTEMPTS = 5
SLOW_ACK_S = 0.15
STORM_INTERVAL_S = 0.15


class Size(Struct, frozen=True, kw_only=True):
    """How many, and how fast. `messages_per_s` is what all publishers of streams send together, if they can."""

    publishers: int = 4
    group_publishers: int = 2
    lasting: int = 2
    napping: int = 3
    transient: int = 2
    members: int = 3
    messages_per_s: float = 200.0


def chaos_policy(revision: int = 1) -> Policy:
    """Anybody may do anything but what the terms deny; one user has a password that impostors do not know."""
    return policies.policy(
        revision,
        users={GUARD: [policies.allow("#")]},
        anonymous=[
            policies.allow("#"),
            policies.deny("+/denied/#"),
            policies.deny("+/unheard/#", activity=Activity.SUBSCRIBE, name="unheard"),
        ],
    )


class Population:
    """The clients of one round. `start`, then `rest`, then `close`, within one event loop."""

    def __init__(self, scene: Scene, prefix: str, size: Size) -> None:
        self.scene = scene
        self.prefix = prefix
        self.size = size
        self.devices: dict[str, Device] = {}
        self._stays: list[asyncio.Task[None]] = []
        self._work: list[asyncio.Task[None]] = []

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect everybody and subscribe; then let them work. Returns when work has begun."""
        self._invite()
        self._stays = [asyncio.create_task(device.stay()) for device in self.devices.values()]
        await self.all_ready()
        self._work = [asyncio.create_task(job) for job in self._jobs()]

    async def all_ready(self) -> None:
        """Until every client is connected and subscribed."""
        try:
            await eventually(lambda: not self.waiting(), READY_S_MAX)
        except NotInTimeError:
            raise NotInTimeError(f"not connected and subscribed: {self.waiting()}") from None

    def waiting(self) -> list[str]:
        """Who is not."""
        return [name for name, device in self.devices.items() if not device.is_ready]

    async def rest(self) -> None:
        """No new work; whoever napped is back; wills whose clients still held them are let go."""
        for task in self._work:
            task.cancel()
        failures = [e for e in await asyncio.gather(*self._work, return_exceptions=True) if _is_failure(e)]
        assert not failures, failures
        for device in self.devices.values():
            device.is_wanted = True

    def under_way(self) -> int:
        """Messages whose handshake with their publisher is not over, and clients that are not there."""
        return sum(len(device.session.outgoing) for device in self.devices.values()) + len(self.waiting())

    async def look_at_retained(self) -> list[str]:
        """Record the values that every node has at the end. Returns the nodes that let no reader in."""
        return [node for node in sorted(self.scene.doors) if not await self._look_at(node)]

    async def _look_at(self, node: str) -> bool:
        for _ in range(READER_ATTEMPTS):
            asked_at = self.scene.recorder.now()
            found = await roles.read_retained(self.scene, f"{self.prefix}-final-{node}", f"{self.prefix}/r/#", node)
            if found is not None:
                self._note(node, asked_at, found)
                return True
        return False

    def _note(self, node: str, asked_at: float, found: dict[str, Received]) -> None:
        for topic in self._topics("r", RETAINED_TOPICS):
            message = found[topic].message if topic in found else ""
            self.scene.recorder.add(Found(self.scene.recorder.now(), node, asked_at, topic, message, is_final=True))

    async def close(self) -> None:
        """Everybody goes. Sessions are left behind; nobody of a later round has the same names."""
        for task in (*self._work, *self._stays):
            task.cancel()
        await asyncio.gather(*self._work, *self._stays, return_exceptions=True)
        for device in self.devices.values():
            device.close()

    # --- what faults do to clients -----------------------------------------------------------------------------------

    def cut_all(self) -> None:
        """Everybody loses the connection at once; they all come back at once."""
        for device in self.devices.values():
            device.cut()

    async def take_over(self, seconds: float) -> None:
        """One client id connects to random nodes again and again."""
        device = self.devices[f"{self.prefix}-storm"]
        try:
            async with asyncio.timeout(seconds):
                await roles.storm(device, STORM_INTERVAL_S)
        except TimeoutError:
            pass

    # --- who is there ------------------------------------------------------------------------------------------------

    def _topics(self, level: str, number: int) -> tuple[str, ...]:
        return tuple(f"{self.prefix}/{level}/{index}" for index in range(number))

    def _add(self, name: str, **options: object) -> Device:
        spec = Spec(client=f"{self.prefix}-{name}", **options)  # type: ignore[arg-type]
        device = self.devices[spec.client] = Device(spec, self.scene)
        return device

    def _many(self, name: str, number: int, **options: object) -> None:
        for index in range(number):
            self._add(f"{name}{index}", version=V3 if index % 2 else V5, **options)

    def _invite(self) -> None:
        prefix, size = self.prefix, self.size
        stream = ((f"{prefix}/t/#", 2),)
        self._many("pub", size.publishers)
        self._many("gpub", size.group_publishers)
        self._many("sub", size.lasting, subscriptions=stream)
        self._many("nap", size.napping, subscriptions=stream, stays=False)
        self._many("brief", size.transient, subscriptions=((f"{prefix}/t/#", 1),), lasts=False)
        self._many("member", size.members, subscriptions=((f"$share/g/{prefix}/s/#", 2),))
        self._add("slow", subscriptions=((f"{prefix}/t/0", 1), (f"{prefix}/s/0", 2)), ack_delay_s=SLOW_ACK_S)
        self._add("storm", subscriptions=((f"{prefix}/t/1", 2),), stays=False)
        self._add("late", subscriptions=((f"{prefix}/x", 1),), stays=False)
        self._add("heir", subscriptions=((f"{prefix}/w/#", 1),))
        self._add("auditor", subscriptions=((f"{prefix}/+/probe", 1),))
        self._add("keeper", subscriptions=((f"{prefix}/r/#", 1),))
        for name in ("retainer", "expirer", "prober"):
            self._add(name)

    def _jobs(self) -> list[Coroutine[None, None, None]]:
        prefix, size = self.prefix, self.size
        one = self._one
        per_s = size.messages_per_s / (size.publishers + size.group_publishers)
        impostor = Spec(client=f"impostor-{prefix}", lasts=False, stays=False, username=GUARD, password=b"guess")
        stream, group = self._topics("t", STREAM_TOPICS), self._topics("s", GROUP_TOPICS)
        return [
            *(roles.publish_stream(one(f"pub{n}"), stream, per_s) for n in range(size.publishers)),
            *(roles.publish_stream(one(f"gpub{n}"), group, per_s) for n in range(size.group_publishers)),
            *(roles.nap(one(f"nap{n}"), roles.NAP_S) for n in range(size.napping)),
            roles.nap(one("late"), roles.LONG_NAP_S),
            roles.publish_expiring(one("expirer"), f"{prefix}/x"),
            roles.write_retained(one("retainer"), self._topics("r", RETAINED_TOPICS)),
            roles.read_now_and_then(self.scene, f"{prefix}-reader", f"{prefix}/r/#"),
            roles.probe(one("prober"), prefix, impostor),
            self._wills(),
        ]

    def _one(self, name: str) -> Device:
        return self.devices[f"{self.prefix}-{name}"]

    async def _wills(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            await roles.leave_wills(self.scene, f"{self.prefix}-mortal", f"{self.prefix}/w", tasks)


def _is_failure(outcome: object) -> bool:
    return isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError)
