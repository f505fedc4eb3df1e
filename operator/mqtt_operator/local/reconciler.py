"""`stoa up`: makes a running broker out of a folder, and keeps the two alike until told to stop.

Knows the order of start, change and stop; does not know terminals, YAML, X.509 or how a policy decides. A mistake at
the start ends it; a mistake while it runs changes nothing and is told: the last good state holds.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder, admin_socket, default_root, locked
from mqtt_operator.local.deploy import Deployment, Surroundings, deploy, node_name
from mqtt_operator.local.files import write_private
from mqtt_operator.local.folder import Declared, read_broker
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import fetch_status
from mqtt_operator.local.ports import check_ports
from mqtt_operator.local.reporter import Reporter
from mqtt_operator.local.supervisor import Supervisor, node_launcher
from mqtt_operator.local.verifiers import standard_hasher
from mqtt_operator.local.watch import changes
from mqtt_operator.local.world import World, establish_world, load_world

STATUS_INTERVAL_S = 1.0


class Options(Struct, frozen=True, kw_only=True):
    """What the command line chose. `data` None = the default place for the broker's name."""

    folder: Path
    data: Path | None = None
    host: str = "127.0.0.1"
    ready_file: Path | None = None

    @property
    def watched(self) -> Path:
        """The folder by its real path, as notices of the file system name it."""
        return self.folder.resolve()


class Reconciler:
    """One broker on one data folder that is locked already. `now` and `hasher` come in for tests."""

    def __init__(
        self,
        options: Options,
        data: DataFolder,
        socket_path: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._options = options
        self._data = data
        self._now = now
        self._surroundings = Surroundings(
            host=options.host,
            hostname=socket.gethostname().lower(),
            admin_socket=socket_path,
            hasher=hasher or standard_hasher(),
        )
        self._world: World | None = None
        self._deployment: Deployment | None = None

    @property
    def world(self) -> World:
        if self._world is None:
            self._world = load_world(self._data)
        return self._world

    def start(self, declared: Declared) -> Deployment:
        """Write the first state. Raises ExpectedError."""
        self._deployment = self._deploy(declared)
        return self._deployment

    def reconcile(self) -> tuple[Deployment, str]:
        """Read the folder again and apply what changed: the state that holds now, and the sentence about it.

        Idempotent. Raises ExpectedError; the last good state holds then, on disk and in memory.
        """
        before = self._deployment
        declared = read_broker(self._options.folder)
        if before is not None and declared.broker.reference != before.declared.broker.reference:
            raise ExpectedError(
                f"The broker is another one now: {declared.broker.reference} instead of "
                f"{before.declared.broker.reference}.",
                to_do="Stop this `stoa up` and start it again, or give the broker its name back.",
            )
        after = self._deployment = self._deploy(declared)
        return after, describe_change(before, after)

    def node_is_ready(self) -> None:
        """The store exists from now on. Raises DataFolderError."""
        establish_world(self._data, self.world)

    def _deploy(self, declared: Declared) -> Deployment:
        return deploy(declared, self._data, self.world, self._surroundings, self._now())


def describe_change(before: Deployment | None, after: Deployment) -> str:
    """One sentence: what a reconcile step did, and why."""
    parts = []
    if before is None or before.policy.revision != after.policy.revision:
        policy = after.policy
        parts.append(
            f"policy revision {policy.revision} (clients: {len(policy.principals)}, rules: {len(policy.rules)})"
        )
    if before is not None and before.settings != after.settings:
        parts.append("the settings of the node")
    if not parts:
        return "The files changed, their meaning did not: nothing to do."
    return f"Applied: {' and '.join(parts)}, because the files changed."


async def up(options: Options, reporter: Reporter, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Returns after a clean stop. Raises ExpectedError if it could not start."""
    declared = read_broker(options.folder)
    root = options.data or default_root(Path.cwd(), declared.broker.metadata.name)
    data = DataFolder(root)
    with locked(data), admin_socket(data, node_name(declared)) as socket_path:
        reconciler = Reconciler(options, data, socket_path)
        deployment = await asyncio.to_thread(reconciler.start, declared)
        check_ports(deployment.settings.listeners)
        async with _running_node(deployment, reporter) as supervisor:
            ready = await _ready_or_stop(supervisor, stop)
            if ready is None:
                return
            reconciler.node_is_ready()
            reporter.ready(deployment, ready)
            _write_ready_file(options, deployment)
            await _serve(reconciler, reporter, socket_path, options.watched, stop)
            reporter.stopping()


@contextlib.asynccontextmanager
async def _running_node(deployment: Deployment, reporter: Reporter) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(
        deployment.settings.node, node_launcher(deployment.settings_file), reporter.event, clock=time.monotonic
    )
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        await supervisor.stop()
        await task


async def _ready_or_stop(supervisor: Supervisor, stop: asyncio.Event) -> NodeEvent | None:
    """The event that says ready, or None if we are stopped before. Raises NodeFailedError."""
    ready = asyncio.create_task(supervisor.wait_ready())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return ready.result() if ready.done() else None
    finally:
        for task in (ready, stopped):
            task.cancel()


async def _serve(
    reconciler: Reconciler, reporter: Reporter, socket_path: Path, folder: Path, stop: asyncio.Event
) -> None:
    """Follow the folder and the node's counters until stopped."""
    async with asyncio.TaskGroup() as tasks:
        followers = [
            tasks.create_task(_follow_folder(reconciler, reporter, folder)),
            tasks.create_task(_follow_status(reporter, socket_path)),
        ]
        await stop.wait()
        for follower in followers:
            follower.cancel()


async def _follow_folder(reconciler: Reconciler, reporter: Reporter, folder: Path) -> None:
    async for asked_for in changes(folder):
        try:
            deployment, sentence = await asyncio.to_thread(reconciler.reconcile)
        except ExpectedError as error:
            reporter.refused(error)
        else:
            if asked_for:
                reporter.changed(deployment, sentence)


async def _follow_status(reporter: Reporter, socket_path: Path) -> None:
    while True:
        reporter.status(await fetch_status(socket_path))
        await asyncio.sleep(STATUS_INTERVAL_S)


def _write_ready_file(options: Options, deployment: Deployment) -> None:
    if options.ready_file is None:
        return
    document = {
        "data": str(deployment.data.root),
        "admin_socket": deployment.settings.admin_socket,
        "listeners": {each.name: each.port for each in deployment.settings.listeners},
        "ca_files": {name: str(path) for name, path in deployment.listener_cas.items()},
    }
    write_private(options.ready_file.absolute(), json.dumps(document, indent=2).encode() + b"\n")
