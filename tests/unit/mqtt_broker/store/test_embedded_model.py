"""Random operations against the embedded store and against lists in memory: they must never disagree.

The model knows queues, acknowledgements, the mark, phases, inbound ids, groups and bounds, and is written without the
store's code.
"""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mqtt_broker.session.session import QueueBounds, SessionRecord
from mqtt_broker.store.embedded import EmbeddedStore
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Claimed,
    Drop,
    Dropped,
    Duplicate,
    GroupTarget,
    Marker,
    Received,
    Rejected,
    Release,
    StoreUnavailable,
    Taken,
)
from unit.mqtt_broker.store.failing import Failing, io_error
from unit.mqtt_broker.store.harness import (
    SHARED,
    Clock,
    Node,
    acknowledge,
    claim,
    detach,
    give_back,
    join,
    mark,
    message,
    subscribe,
    take,
    to,
)

CLIENTS = ("a", "b", "c")
clients = st.sampled_from(CLIENTS)
places = st.integers(1, 12)
overflows = {"a": "DropOldest", "b": "DropNewest", "c": "Reject"}
BOUNDS = {name: QueueBounds(messages_max=4, bytes_max=1_000, overflow=overflows[name]) for name in CLIENTS}


@dataclass
class Entry:
    payload: bytes
    qos: int
    received: bool = False
    place_in_group: int | None = None


@dataclass
class Model:
    record: SessionRecord
    queue: dict[int, Entry] = field(default_factory=dict)
    last: int = 0
    sent_up_to: int = 0
    inbound: set[int] = field(default_factory=set)

    def append(self, entry: Entry) -> int:
        self.last += 1
        self.queue[self.last] = entry
        return self.last


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.models: dict[str, Model] = {}
        self.group: dict[int, Entry] = {}
        self.group_last = 0
        self.published = 0
        self.disk_fails = False

    def teardown(self) -> None:
        if self.models:
            self.loop.run_until_complete(self.node.store.close())
        self.loop.close()

    @initialize()
    def start(self) -> None:
        self.node = self.loop.run_until_complete(self.open())

    async def open(self) -> Node:
        store = await EmbeddedStore.open("sqlite::memory:", Clock())
        self.database = store._database
        node = await join(store)
        for name in CLIENTS:
            record = await node.claim(name, bounds=BOUNDS[name])
            await node.do(subscribe(record, SHARED))
            self.models[name] = Model(record)
        return node

    def do(self, operation: object) -> object:
        if self.disk_fails:
            self.fail(operation)
        result = self.loop.run_until_complete(self.node.do(operation))  # type: ignore[arg-type]
        again = self.loop.run_until_complete(
            self.node.store.commit(self.node.membership, self.node.number, [operation])  # type: ignore[list-item]
        )
        assert again == (result,)
        return result

    def fail(self, operation: object) -> None:
        """The commit fails; then the same batch number is free for the same operation."""
        self.disk_fails = False
        real = self.database._connection
        self.database._connection = Failing(real, "COMMIT", [io_error()])  # type: ignore[assignment]
        with pytest.raises(StoreUnavailable):
            self.loop.run_until_complete(self.node.do(operation))  # type: ignore[arg-type]
        self.database._connection = real
        self.node.number -= 1

    @rule()
    def disk_fails_once(self) -> None:
        self.disk_fails = True

    @rule(names=st.lists(clients, max_size=3, unique=True), qos=st.integers(1, 2), to_group=st.booleans())
    def publish(self, names: list[str], qos: int, to_group: bool) -> None:
        self.published += 1
        payload = str(self.published).encode()
        targets = tuple(to(self.models[name].record, qos) for name in names)
        groups = (GroupTarget(group="crew", filter="work/#"),) if to_group else ()
        result = self.do(Accept(message=message(payload, 2), targets=targets, groups=groups))
        if "c" in names and len(self.models["c"].queue) >= 4:
            assert result == Rejected("c")
            return
        sequences, evicted = [], []
        for name in names:
            model = self.models[name]
            unsent = [place for place in model.queue if place > model.sent_up_to]
            if len(model.queue) >= 4 and name == "a":
                if len(model.queue) - len(unsent) >= 4:
                    sequences.append(0)
                    continue
                while len(model.queue) >= 4:
                    evicted.append((name, unsent[0]))
                    del model.queue[unsent.pop(0)]
            elif len(model.queue) >= 4:
                sequences.append(0)
                continue
            sequences.append(model.append(Entry(payload, qos)))
        if to_group:
            self.group_last += 1
            self.group[self.group_last] = Entry(payload, 2)
        assert result == Accepted(tuple(sequences), tuple(evicted))

    @rule(name=clients, count=st.integers(1, 6), marks=st.booleans())
    def publish_run(self, name: str, count: int, marks: bool) -> None:
        model = self.models[name]
        payloads = tuple([b"%06d" % (self.published + number) for number in range(count)])
        self.published += count
        target = to(model.record, 1, epoch=model.record.epoch, raises_mark=marks)
        result = self.do(AcceptRun(message=message(b"", 2), payloads=payloads, targets=(target,)))
        places, evicted = [], []
        for index, payload in enumerate(payloads):
            unsent = [place for place in model.queue if place > model.sent_up_to]
            while len(model.queue) >= 4 and name == "a" and len(model.queue) - len(unsent) < 4:
                evicted.append((index, name, unsent[0]))
                del model.queue[unsent.pop(0)]
            if len(model.queue) < 4:
                places.append(model.append(Entry(payload, 1)))
                model.sent_up_to = max(model.sent_up_to, places[-1]) if marks else model.sent_up_to
        stored = ((places[0] if places else 0, len(places)),)
        refused = count - len(places) if name == "c" else 0
        assert result == AcceptedRun(stored, tuple(evicted), refused=refused)

    @rule(name=clients, place=places)
    def mark_sent(self, name: str, place: int) -> None:
        model = self.models[name]
        self.do(mark(model.record, place))
        model.sent_up_to = max(model.sent_up_to, place)

    @rule(name=clients, place=places)
    def pubrec(self, name: str, place: int) -> None:
        model = self.models[name]
        self.do(Received(client_id=name, epoch=model.record.epoch, sequence=place))
        if place in model.queue:
            model.queue[place].received = True

    @rule(name=clients, some=st.lists(places, max_size=4))
    def puback(self, name: str, some: list[int]) -> None:
        model = self.models[name]
        self.do(acknowledge(model.record, *some))
        for place in some:
            model.queue.pop(place, None)

    @rule(name=clients, some=st.lists(places, max_size=4, unique=True))
    def drop(self, name: str, some: list[int]) -> None:
        model = self.models[name]
        gone = [place for place in some if place in model.queue and place > model.sent_up_to]
        operation = Drop(client_id=name, incarnation=model.record.incarnation, sequences=tuple(some))
        assert self.do(operation) == Dropped(len(gone))
        for place in gone:
            del model.queue[place]

    @rule(name=clients, packet_id=st.integers(1, 3))
    def publish_qos_2(self, name: str, packet_id: int) -> None:
        model = self.models[name]
        marker = Marker(client_id=name, epoch=model.record.epoch, packet_id=packet_id)
        expected = Duplicate() if packet_id in model.inbound else Accepted(())
        assert self.do(Accept(message=message(), marker=marker)) == expected
        model.inbound.add(packet_id)

    @rule(name=clients, packet_id=st.integers(1, 3))
    def pubrel(self, name: str, packet_id: int) -> None:
        model = self.models[name]
        self.do(Release(client_id=name, epoch=model.record.epoch, packet_id=packet_id))
        model.inbound.discard(packet_id)

    @rule(name=clients, limit=st.integers(1, 3), qos=st.integers(1, 2))
    def take(self, name: str, limit: int, qos: int) -> None:
        model = self.models[name]
        result = self.do(take(model.record, limit, qos=qos))
        assert isinstance(result, Taken)
        expected = []
        for place in sorted(self.group)[:limit]:
            entry = self.group.pop(place)
            expected.append((model.append(Entry(entry.payload, qos, place_in_group=place)), entry.payload))
        assert [(entry.sequence, entry.message.payload) for entry in result.entries] == expected
        assert result.left == len(self.group)

    @rule(name=clients)
    def give_back(self, name: str) -> None:
        model = self.models[name]
        self.do(give_back(model.record))
        self.take_back(model)

    def take_back(self, model: Model) -> None:
        for place, entry in list(model.queue.items()):
            stays = entry.qos == 2 and place <= model.sent_up_to
            if entry.place_in_group is not None and not stays:
                self.group[entry.place_in_group] = Entry(entry.payload, 2)
                del model.queue[place]

    @rule(name=clients, clean_start=st.booleans())
    def reconnect(self, name: str, clean_start: bool) -> None:
        model = self.models[name]
        self.do(detach(model.record))
        result = self.do(claim(name, clean_start=clean_start, bounds=BOUNDS[name]))
        assert isinstance(result, Claimed)
        assert (result.present, result.queued) == (not clean_start, 0 if clean_start else len(model.queue))
        if clean_start:
            self.take_back(model)
            self.do(subscribe(result.record, SHARED))
            self.models[name] = Model(result.record)
        else:
            model.record = result.record
            model.sent_up_to = min(model.sent_up_to, model.last)

    @precondition(lambda self: self.models)
    @invariant()
    def store_and_model_agree(self) -> None:
        snapshot = self.loop.run_until_complete(self.node.store.load())
        records = {record.client_id: record for record in snapshot.sessions}
        for name, model in self.models.items():
            entries = self.loop.run_until_complete(self.node.queue(model.record))
            found = [(e.sequence, e.message.payload, e.qos, e.received, e.group is not None) for e in entries]
            assert found == [
                (place, entry.payload, entry.qos, entry.received, entry.place_in_group is not None)
                for place, entry in model.queue.items()
            ]
            assert records[name].sent_up_to == model.sent_up_to
            assert set(records[name].inbound_qos2) == model.inbound
        assert snapshot.groups == ((("crew", "work/#", len(self.group)),) if self.group else ())

    @precondition(lambda self: self.models)
    @invariant()
    def counters_agree_with_what_is_stored(self) -> None:
        wrong = self.database._connection.execute(
            "SELECT home FROM counters c WHERE (messages, bytes) <>"
            " (SELECT count(*), coalesce(sum(size), 0) FROM queue WHERE home = c.home)"
            " UNION ALL SELECT id FROM bodies WHERE holders <> (SELECT count(*) FROM queue WHERE body_id = bodies.id)"
        ).fetchall()
        assert wrong == []


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestStoreAgainstAModel = StoreMachine.TestCase
