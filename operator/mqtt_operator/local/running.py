"""`stoa up`: the store server if it is ours, the nodes, the front; started in this order, followed, stopped in reverse.

Knows the order of start, change and stop; does not know terminals, YAML or how a policy decides. A mistake at the start
ends it; a mistake while it runs changes nothing and is told.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mqtt_api.node_settings import NodeSettings
from mqtt_operator.channel.terms import StoreAwayError
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder, admin_socket, default_root, locked
from mqtt_operator.local.deploy import FRONT, Deployment, Site, node_name
from mqtt_operator.local.files import write_private
from mqtt_operator.local.folder import Declared, read_broker
from mqtt_operator.local.front import STARTED_EVENT, parse_front_line, prepare_front, wait_listening
from mqtt_operator.local.node_answers import AllAnswers
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import fetch_status, summed
from mqtt_operator.local.ports import check_ports
from mqtt_operator.local.reconciler import Change, Options, PlaceOf, Reconciler
from mqtt_operator.local.reporter import Reporter
from mqtt_operator.local.run_document import write_run
from mqtt_operator.local.store_place import Kind, choose, declared_place, named_place, own_level
from mqtt_operator.local.store_server import READY_EVENT as STORE_READY_EVENT
from mqtt_operator.local.store_server import command_line, parse_server_line, prepare_store_server
from mqtt_operator.local.store_users import with_users_of_our_own
from mqtt_operator.local.supervisor import Supervisor, launcher, node_launcher
from mqtt_operator.local.watch import changes

STATUS_INTERVAL_S = 1.0
STORE_RETRY_S = 1.0
STORE_LOOK_S = 1.0

STORE_SERVER = "the store server"
_FRONT_STAYS = ExpectedError(
    "The front keeps the ports it was started with; the nodes have the new ones.",
    where="field: spec.listeners",
    to_do="Stop this `stoa up` and start it again, or give the ports back.",
)
_ROLLED_BACK = (
    "The store came back older than it was: what was acknowledged since is lost. All clients connect anew, and send "
    "again what they still have."
)
# Lines of helpers that nobody needs while all is well; they are kept to explain a failure.
_UNTOLD = frozenset({"store.line", "front.line", STARTED_EVENT, STORE_READY_EVENT})


async def up(options: Options, reporter: Reporter, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Returns after a clean stop. Raises ExpectedError if it could not start."""
    declared = read_broker(options.folder)
    count = options.nodes or declared.broker.spec.replicas
    kind = choose(options.store, declared, count)
    data = DataFolder(options.data or default_root(Path.cwd(), declared.broker.metadata.name))
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(locked(data))
        sites = [
            Site(admin_socket=stack.enter_context(admin_socket(data, name)), port_offset=number + options.front)
            for number, name in enumerate(node_name(declared, number) for number in range(count))
        ]
        place_of = await stack.enter_async_context(_store(kind, options, declared, data, reporter))
        reconciler = Reconciler(options, data, sites, place_of)
        deployment = await asyncio.to_thread(reconciler.start, declared)
        _check_ports(deployment, has_front=options.front)  # before anything that would take them
        answers = AllAnswers(reporter, [each.settings.node for each in deployment.nodes])
        supervisors = await stack.enter_async_context(_running_nodes(deployment, answers))
        ready = await _ready_or_stop(supervisors, stop)
        if ready is None:
            return
        if options.front:
            await stack.enter_async_context(_running_front(deployment, reporter))
        reconciler.node_is_ready()
        write_run(deployment)
        reporter.ready(deployment, ready)
        _write_ready_file(options, deployment)
        await _serve(
            _follow_folder(reconciler, reporter, answers, options, deployment),
            _follow_status(reporter, [site.admin_socket for site in sites]),
            _follow_store(reconciler, reporter, deployment),
            stop=stop,
        )
        reporter.stopping()


def _check_ports(deployment: Deployment, *, has_front: bool) -> None:
    listeners = [each for node in deployment.nodes for each in node.settings.listeners]
    check_ports([*listeners, *(deployment.entrance if has_front else ())])


# Processes -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _store(
    kind: Kind, options: Options, declared: Declared, data: DataFolder, reporter: Reporter
) -> AsyncIterator[PlaceOf]:
    """Where the store is that nodes share; if it is a server of our own, it runs meanwhile."""
    if kind is Kind.FILE:
        yield lambda _: None
    elif kind is Kind.NAMED:
        place = named_place(options.store)
        yield lambda declared: with_users_of_our_own(declared.broker, data, place)
    elif kind is Kind.DECLARED:
        yield partial(declared_place, data=data, words=options.store)
    else:
        level = own_level(options.store, declared)
        server = await asyncio.to_thread(prepare_store_server, declared.broker, data, level)
        supervisor = Supervisor(
            STORE_SERVER,
            launcher(command_line(server)),
            partial(_tell, reporter),
            clock=time.monotonic,
            parse=parse_server_line,
            ready_event=STORE_READY_EVENT,
        )
        async with _kept_alive([supervisor]):
            await supervisor.wait_ready()
            yield lambda _: server.place


@contextlib.asynccontextmanager
async def _running_nodes(deployment: Deployment, answers: AllAnswers) -> AsyncIterator[list[Supervisor]]:
    supervisors = [
        Supervisor(
            each.settings.node,
            node_launcher(each.settings_file),
            answers.taker(each.settings.node),
            clock=time.monotonic,
        )
        for each in deployment.nodes
    ]
    async with _kept_alive(supervisors):
        yield supervisors


@contextlib.asynccontextmanager
async def _running_front(deployment: Deployment, reporter: Reporter) -> AsyncIterator[None]:
    supervisor = Supervisor(
        FRONT,
        launcher(prepare_front(deployment)),
        partial(_tell, reporter),
        clock=time.monotonic,
        parse=parse_front_line,
        ready_event=STARTED_EVENT,
    )
    async with _kept_alive([supervisor]):
        await supervisor.wait_ready()
        await wait_listening(deployment.entrance)
        yield


@contextlib.asynccontextmanager
async def _kept_alive(supervisors: Sequence[Supervisor]) -> AsyncIterator[None]:
    running = [asyncio.create_task(each.run()) for each in supervisors]
    try:
        yield
    finally:
        await asyncio.gather(*(each.stop() for each in supervisors))
        await asyncio.gather(*running)


def _tell(reporter: Reporter, event: NodeEvent) -> None:
    if event.event not in _UNTOLD:
        reporter.event(event)


async def _ready_or_stop(supervisors: Sequence[Supervisor], stop: asyncio.Event) -> NodeEvent | None:
    """The event by which the first node says ready once all are, or None if we are stopped before.

    Raises NodeFailedError.
    """
    ready = [asyncio.create_task(each.wait_ready()) for each in supervisors]
    stopped = asyncio.create_task(stop.wait())
    everybody: asyncio.Future[list[NodeEvent]] = asyncio.gather(*ready)
    waits: list[asyncio.Future[Any]] = [everybody, stopped]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return everybody.result()[0] if everybody.done() else None
    finally:
        waits += ready
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


# Following -----------------------------------------------------------------------------------------------------------


async def _serve(*following: Coroutine[None, None, None], stop: asyncio.Event) -> None:
    """Follow the folder and the nodes' counters until stopped."""
    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(each) for each in following]
        await stop.wait()
        for follower in followers:
            follower.cancel()


async def _follow_folder(
    reconciler: Reconciler, reporter: Reporter, answers: AllAnswers, options: Options, started: Deployment
) -> None:
    """`started`: what the nodes and the front started with."""
    in_force = _settings(started)
    async for asked_for in changes(options.watched):
        answers.expect()
        try:
            change = await _reconciled(reconciler, reporter)
        except ExpectedError as error:
            answers.forget()
            reporter.refused(error)
            continue
        taken = await _taken(change, answers, in_force)
        if taken:
            in_force = _settings(change.after)
        write_run(change.after)
        if options.front and change.settings_changed and _ports(change.after) != _ports(started):
            reporter.refused(_FRONT_STAYS)
        sentence = change.sentence(taken)
        if sentence and (asked_for or change.mended):
            reporter.changed(change.after, sentence)


async def _reconciled(reconciler: Reconciler, reporter: Reporter) -> Change:
    """One step; as long as the store is away, the same again. That it is away is told once. Raises ExpectedError."""
    told = False
    while True:
        try:
            return await asyncio.to_thread(reconciler.reconcile)
        except StoreAwayError as error:
            if not told:
                reporter.refused(error)
                told = True
        await asyncio.sleep(STORE_RETRY_S)


async def _taken(change: Change, answers: AllAnswers, in_force: list[NodeSettings]) -> bool | None:
    if not change.settings_changed:
        answers.forget()
        return None
    taken = await answers.wait()
    # A node that refused a change says nothing when it is taken back: it has those settings already.
    return True if taken is None and _settings(change.after) == in_force else taken


def _settings(deployment: Deployment) -> list[NodeSettings]:
    return [each.settings for each in deployment.nodes]


def _ports(deployment: Deployment) -> set[tuple[str, int]]:
    return {(each.name, each.port) for each in deployment.entrance}


async def _follow_status(reporter: Reporter, sockets: Sequence[Path]) -> None:
    while True:
        reporter.status(summed(await asyncio.gather(*(fetch_status(each) for each in sockets))))
        await asyncio.sleep(STATUS_INTERVAL_S)


async def _follow_store(reconciler: Reconciler, reporter: Reporter, deployment: Deployment) -> None:
    """What the store is asked again and again: whether it still is what it was. What is wrong with it is told once."""
    told = ""
    while deployment.store is not None:
        await asyncio.sleep(STORE_LOOK_S)
        try:
            accepted = await asyncio.to_thread(reconciler.keep_policy)
        except ExpectedError as error:
            if str(error) != told:
                told = str(error)
                reporter.event(NodeEvent(level="error", event="store.trouble", message=told))
            continue
        if told:
            reporter.event(NodeEvent(event="store.back", message="The store is there again, with the policy in force."))
        told = ""
        if accepted:
            reporter.event(NodeEvent(level="error", event="store.rolled_back", message=_ROLLED_BACK))


def _write_ready_file(options: Options, deployment: Deployment) -> None:
    if options.ready_file is None:
        return
    document = {
        "data": str(deployment.data.root),
        "admin_socket": deployment.settings.admin_socket,
        "listeners": {each.name: each.port for each in deployment.entrance},
        "ca_files": {name: str(path) for name, path in deployment.listener_cas.items()},
        "nodes": {
            each.settings.node: {
                "admin_socket": each.settings.admin_socket,
                "listeners": {listener.name: listener.port for listener in each.settings.listeners},
            }
            for each in deployment.nodes
        },
    }
    write_private(options.ready_file.absolute(), json.dumps(document, indent=2).encode() + b"\n")
