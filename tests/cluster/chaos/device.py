"""A client as the standard wants it: it keeps its session, resends with DUP, and finds another node when it must.

Knows the driver's side of MQTT and records all it sees; does not judge. A connection it has done with stays open where
the peer did not close it, so that whatever still arrives there is seen.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from itertools import count

from msgspec import Struct

from cluster.chaos.link import Door, Link, dial
from cluster.chaos.record import (
    Acknowledged,
    Asked,
    Connected,
    Ended,
    How,
    Received,
    Recorder,
    Refused,
    Sent,
    Stray,
    Subscribed,
    Unsubscribed,
    WillOffered,
    name_of,
)
from cluster.chaos.session import ClientSession
from mqtt_broker.wire.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
)

CONNACK_S_MAX = 5.0  # shorter than a lease: who waits for the fencing of a lost node has to ask more than once
SILENCE_S_MAX = 3.0  # a peer that does not answer a PINGREQ for so long is given up
PING_AFTER_S = 1.0
WATCH_INTERVAL_S = 0.25
GOODBYE_S_MAX = 3.0
BACK_OFF_S = (0.05, 1.0)  # first, and at most; doubled with each failure, with jitter
KEEP_ALIVE_S = 30
SESSION_EXPIRY_S = 3_600
GHOSTS_MAX = 4
PADDING_BYTES = 48
WINDOW = 20


class Spec(Struct, frozen=True, kw_only=True):
    """What a client is. `subscriptions` are filters with the QoS asked for. `ack_delay_s`: how slow it acknowledges."""

    client: str
    version: ProtocolVersion = ProtocolVersion.V5
    lasts: bool = True
    stays: bool = True
    subscriptions: tuple[tuple[str, int], ...] = ()
    ack_delay_s: float = 0.0
    will_topic: str | None = None
    will_delay_s: int = 0
    username: str | None = None
    password: bytes | None = None
    window: int = WINDOW


class Scene:
    """What all clients of a round share: where nodes listen, the record, chance, and numbers for connections."""

    def __init__(self, doors: Mapping[str, int | Door], recorder: Recorder, chance: random.Random) -> None:
        self.doors = {name: door if isinstance(door, Door) else Door(door) for name, door in doors.items()}
        self.recorder = recorder
        self.chance = chance
        self.links = count(1)


class Device:
    """One client. Run `stay` as a task: it connects while `is_wanted`, again whenever it loses its connection."""

    watch_interval_s = WATCH_INTERVAL_S
    ping_after_s = PING_AFTER_S
    silence_s_max = SILENCE_S_MAX

    def __init__(self, spec: Spec, scene: Scene) -> None:
        self.spec = spec
        self.scene = scene
        self.session = ClientSession()
        self.link: Link | None = None
        self.is_wanted = True
        self._dialling: dict[Link, asyncio.Future[bool]] = {}
        self._ghosts: list[Link] = []
        self._reasons: dict[int, int] = {}
        self._numbers = count(1)
        self._subscribing: dict[int, tuple[float, tuple[str, ...]]] = {}
        self._window = spec.window
        self._changed = asyncio.Event()
        self._closing: dict[Link, asyncio.Event] = {}
        self._failures = 0
        self._untried: list[str] = []

    # --- being there -------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Connected, and subscribed to all it wants."""
        return self.link is not None and (self.session.is_subscribed or not self.spec.subscriptions)

    @property
    def has_room(self) -> bool:
        return self.is_ready and len(self.session.outgoing) < self._window

    async def stay(self) -> None:
        """Be connected while wanted, until cancelled."""
        while True:
            if self.link is not None:
                self._watch()
            elif self.is_wanted and not await self.connect():
                await asyncio.sleep(self._back_off_s())
                continue
            await self._pause(self.watch_interval_s)

    async def connect(self, node: str | None = None) -> bool:
        """One attempt, at a node or at any. True: CONNACK said yes, and an earlier connection is done with."""
        node = node or self._any_node()
        link = Link(next(self.scene.links), node, self.spec.version, self._on_packet, self._on_closed)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._dialling[link] = answer
        try:
            await dial(self.scene.doors[node], link)
            self._ask(link)
            async with asyncio.timeout(CONNACK_S_MAX):
                said_yes = await answer
        except (OSError, TimeoutError):
            said_yes = False
        finally:
            self._dialling.pop(link, None)
        if not said_yes:
            link.abort()
        self._failures = 0 if said_yes else self._failures + 1
        if said_yes:
            self._untried = []
        return said_yes

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a packet or a lost connection may change."""
        while not condition():
            await self._pause(WATCH_INTERVAL_S)

    async def leave(self) -> bool:
        """Say goodbye, and stay away. True: the peer has read it, for it closed in good order."""
        self.is_wanted = False
        link = self._let_go()
        if link is None:
            return False
        closed = self._closing[link] = asyncio.Event()
        link.send(Disconnect())
        try:
            async with asyncio.timeout(GOODBYE_S_MAX):
                await closed.wait()
        except TimeoutError:
            pass
        finally:
            del self._closing[link]
        is_heard = closed.is_set() and link.ended_well
        link.abort()
        self._end(link, How.GOODBYE if is_heard else How.ABANDONED)
        return is_heard

    def cut(self) -> None:
        """Go without a word, as a device that lost its network."""
        if link := self._let_go():
            link.abort()
            self._end(link, How.ABORTED)

    def close(self) -> None:
        """The end of this client: nothing of it stays open."""
        self.is_wanted = False
        self.cut()
        for ghost in self._ghosts:
            ghost.abort()

    # --- publishing --------------------------------------------------------------------------------------------------

    async def publish(
        self, topic: str, qos: int, *, retain: bool = False, expiry_s: int | None = None, deletes: bool = False
    ) -> str:
        """Wait until the window has room, then send. Returns the name of the message; it is not acknowledged yet."""
        await self.until(lambda: self.has_room)
        assert self.link is not None
        name = name_of(self.spec.client, next(self._numbers))
        payload = b"" if deletes else name.encode() + b" " + b"." * PADDING_BYTES
        packet_id = self.session.take_id() if qos else 0
        properties = Properties(message_expiry_interval=expiry_s)
        packet = Publish(topic, payload, qos, retain, packet_id=packet_id, properties=properties)
        at = self._now()
        self._add(
            Sent(
                at,
                self.spec.client,
                self.link.number,
                name,
                topic,
                qos,
                retain,
                expiry_s=expiry_s,
                deletes=deletes,
            )
        )
        if qos:
            self.session.begin(name, packet)
        self.link.send(packet)
        return name

    def unsubscribe(self, topic_filter: str) -> None:
        """Send UNSUBSCRIBE if connected."""
        if self.link is not None:
            self._add(Unsubscribed(self._now(), self.spec.client, topic_filter))
            self.link.send(Unsubscribe(self.session.take_id(), (topic_filter,)))

    def subscribe(self, *filters: tuple[str, int]) -> None:
        """Send SUBSCRIBE if connected; Subscribed is recorded with its SUBACK."""
        if self.link is not None:
            packet_id = self.session.take_id()
            self._subscribing[packet_id] = (self._now(), tuple(name for name, _ in filters))
            self.link.send(Subscribe(packet_id, tuple(SubscriptionRequest(name, qos) for name, qos in filters)))

    # --- connections -------------------------------------------------------------------------------------------------

    def _ask(self, link: Link) -> None:
        spec, at = self.spec, self._now()
        will = None
        if spec.will_topic is not None:
            name = name_of(f"{spec.client}-will", link.number)
            properties = Properties(will_delay_interval=spec.will_delay_s or None)
            will = Will(spec.will_topic, name.encode(), qos=1, retain=False, properties=properties)
            self._add(WillOffered(at, spec.client, link.number, name, spec.will_topic, spec.will_delay_s))
        expiry_s = SESSION_EXPIRY_S if spec.lasts and spec.version is ProtocolVersion.V5 else None
        self._add(Asked(at, spec.client, link.number, link.node))
        link.send(
            Connect(
                version=spec.version,
                client_id=spec.client,
                clean_start=not spec.lasts,
                keep_alive=KEEP_ALIVE_S,
                will=will,
                username=spec.username,
                password=spec.password,
                properties=Properties(session_expiry_interval=expiry_s),
            )
        )
        link.asked_at = at

    def _accept(self, link: Link, answer: ConnAck) -> None:
        """What was on its way on earlier connections is handled first: it was sent before this CONNACK."""
        for earlier in (self.link, *self._ghosts):
            if earlier is not None:
                earlier.read_now()
        spec = self.spec
        at = self._now()
        self._add(
            Connected(
                at,
                spec.client,
                link.number,
                link.node,
                link.asked_at,
                is_resume=spec.lasts,
                lasts=spec.lasts,
                session_present=answer.session_present,
                stays=spec.stays,
            )
        )
        if old := self._let_go():
            self._haunt(old, How.REPLACED)
        self.link = link
        self._window = min(spec.window, answer.properties.receive_maximum or spec.window)
        self._subscribing.clear()
        if answer.session_present:
            self._repeat(link)
        else:
            self.session.forget()
        if spec.subscriptions and not self.session.is_subscribed:
            self.subscribe(*spec.subscriptions)

    def _repeat(self, link: Link) -> None:
        for name, packet in self.session.repetitions():
            if isinstance(packet, Publish):
                self._add(
                    Sent(
                        self._now(),
                        self.spec.client,
                        link.number,
                        name,
                        packet.topic,
                        packet.qos,
                        packet.retain,
                        dup=True,
                        expiry_s=packet.properties.message_expiry_interval,
                        deletes=not packet.payload,
                    )
                )
            link.send(packet)

    def _watch(self) -> None:
        assert self.link is not None
        silent_s = asyncio.get_running_loop().time() - self.link.heard_at
        if silent_s > self.silence_s_max and (link := self._let_go()):
            self._haunt(link, How.ABANDONED)
        elif silent_s > self.ping_after_s:
            self.link.send(PingReq())

    def _let_go(self) -> Link | None:
        link, self.link = self.link, None
        if link is not None and not self.spec.lasts:
            self.session.forget()
        self._changed.set()
        return link

    def _haunt(self, link: Link, how: How) -> None:
        self._end(link, how)
        self._ghosts.append(link)
        if len(self._ghosts) > GHOSTS_MAX:
            self._ghosts.pop(0).abort()

    def _end(self, link: Link, how: How) -> None:
        self._add(Ended(self._now(), self.spec.client, link.number, how, self._reasons.get(link.number)))

    def _on_closed(self, link: Link) -> None:
        if link is self.link:
            self._let_go()
            self._end(link, How.CLOSED)
        elif link in self._ghosts:
            self._ghosts.remove(link)
        elif answer := self._dialling.get(link):
            _settle(answer, said_yes=False)
        if closing := self._closing.get(link):
            closing.set()
        self._changed.set()

    def _any_node(self) -> str:
        """One that was not asked since the last success: a client that knows several addresses tries them all."""
        if not self._untried:
            self._untried = sorted(self.scene.doors)
        return self._untried.pop(self.scene.chance.randrange(len(self._untried)))

    def _back_off_s(self) -> float:
        first, most = BACK_OFF_S
        return min(most, first * 2.0 ** min(self._failures, 10)) * self.scene.chance.uniform(0.5, 1.0)

    # --- packets -----------------------------------------------------------------------------------------------------

    def _on_packet(self, link: Link, packet: Packet) -> None:
        answer = self._dialling.get(link)
        if answer is not None and isinstance(packet, ConnAck) and not answer.done():
            self._answered(link, packet, answer)
            return
        if link is not self.link:
            if not isinstance(packet, Disconnect):
                self._add(Stray(self._now(), self.spec.client, link.number, type(packet).__name__))
            return
        self._handle(link, packet)
        self._changed.set()

    def _answered(self, link: Link, packet: ConnAck, answer: asyncio.Future[bool]) -> None:
        if packet.reason.is_error:
            self._add(Refused(self._now(), self.spec.client, link.node, int(packet.reason)))
        else:
            self._accept(link, packet)
        _settle(answer, said_yes=not packet.reason.is_error)

    def _handle(self, link: Link, packet: Packet) -> None:
        match packet:
            case Publish():
                self._on_publish(link, packet)
            case PubAck(packet_id, reason):
                self._acknowledged(packet_id, int(reason), is_over=True)
            case PubRec(packet_id, reason):
                self._acknowledged(packet_id, int(reason), is_over=reason.is_error)
                if not reason.is_error:
                    link.send(PubRel(packet_id))
            case PubComp(packet_id):
                self.session.outgoing.pop(packet_id, None)
            case PubRel(packet_id):
                self.session.inbound.discard(packet_id)
                link.send(PubComp(packet_id))
            case SubAck():
                self._subscribed(link, packet)
            case Disconnect(reason):
                self._reasons[link.number] = int(reason)
            case _:
                pass

    def _on_publish(self, link: Link, packet: Publish) -> None:
        is_new = packet.qos < 2 or packet.packet_id not in self.session.inbound
        name = packet.payload.split(b" ", 1)[0].decode()
        self._add(
            Received(
                self._now(),
                self.spec.client,
                link.number,
                name,
                packet.topic,
                packet.qos,
                dup=packet.dup,
                retain=packet.retain,
                is_new=is_new,
            )
        )
        if packet.qos == 2:
            self.session.inbound.add(packet.packet_id)
        if packet.qos:
            answer = PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id)
            self._answer(link, answer)

    def _answer(self, link: Link, packet: Packet) -> None:
        if not self.spec.ack_delay_s:
            link.send(packet)
            return

        def late() -> None:
            if link is self.link:
                link.send(packet)

        asyncio.get_running_loop().call_later(self.spec.ack_delay_s, late)

    def _acknowledged(self, packet_id: int, reason: int, *, is_over: bool) -> None:
        one = self.session.outgoing.get(packet_id)
        if one is None:
            return
        if not one.is_received:
            self._add(Acknowledged(self._now(), self.spec.client, one.message, reason))
        one.is_received = True
        if is_over:
            del self.session.outgoing[packet_id]

    def _subscribed(self, link: Link, packet: SubAck) -> None:
        asked = self._subscribing.pop(packet.packet_id, None)
        if asked is None:
            return
        asked_at, filters = asked
        for name, reason in zip(filters, packet.reasons, strict=True):
            self._add(Subscribed(self._now(), self.spec.client, link.number, asked_at, name, int(reason)))
        self.session.is_subscribed = True

    # --- small things ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self.scene.recorder.now()

    @property
    def _add(self) -> Callable[..., None]:
        return self.scene.recorder.add

    async def _pause(self, seconds: float) -> None:
        """Until something changes, at most so long."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass


def _settle(answer: asyncio.Future[bool], *, said_yes: bool) -> None:
    if not answer.done():
        answer.set_result(said_yes)
