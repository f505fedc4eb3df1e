"""`stoa up`: makes a running broker out of a folder, and keeps the two alike until told to stop.

Knows the order of start, change and stop; does not know terminals, YAML, X.509 or how a policy decides. A mistake at
the start ends it; a mistake while it runs changes nothing and is told: the last good state holds.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.node_settings import NodeSettings
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder, admin_socket, default_root, locked
from mqtt_operator.local.deploy import Deployment, Surroundings, deploy, node_name
from mqtt_operator.local.files import write_private
from mqtt_operator.local.folder import Declared, read_broker
from mqtt_operator.local.node_answers import NodeAnswers
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


class Change(Struct, frozen=True, kw_only=True):
    """What one reconcile step wrote. `mended`: the files held a mistake until now."""

    before: Deployment | None
    after: Deployment
    mended: bool = False

    @property
    def settings_changed(self) -> bool:
        """The node has to take other settings, and may refuse them."""
        return self.before is not None and self.before.settings != self.after.settings

    def sentence(self, taken: bool | None) -> str:
        """What was done, and why. `taken` is the node's answer to changed settings, None if it gave none yet; that it
        refused them is told elsewhere. Empty if nothing else is to be said.
        """
        parts = []
        policy = self.after.policy
        if self.before is None or self.before.policy.revision != policy.revision:
            parts.append(
                f"policy revision {policy.revision} (clients: {len(policy.principals)}, rules: {len(policy.rules)})"
            )
        if self.settings_changed and taken:
            parts.append("the settings of the node")
        said = [f"Applied: {' and '.join(parts)}, because the files changed."] if parts else []
        if self.settings_changed and taken is None:
            said.append("Written: the settings of the node; it has not said yet whether it took them.")
        if not said and not self.settings_changed:
            said.append(
                f"Mended: the files are in force again (revision {policy.revision})."
                if self.mended
                else "The files changed, their meaning did not: nothing to do."
            )
        return " ".join(said)


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
        self._broken = False

    @property
    def world(self) -> World:
        if self._world is None:
            self._world = load_world(self._data)
        return self._world

    def start(self, declared: Declared) -> Deployment:
        """Write the first state. Raises ExpectedError."""
        self._deployment = self._deploy(declared)
        return self._deployment

    def reconcile(self) -> Change:
        """Read the folder again and write what changed.

        Idempotent. Raises ExpectedError; the last good state holds then, on disk and in memory.
        """
        before, was_broken, self._broken = self._deployment, self._broken, True
        declared = read_broker(self._options.folder)
        if before is not None and declared.broker.reference != before.declared.broker.reference:
            raise ExpectedError(
                f"The broker is another one now: {declared.broker.reference} instead of "
                f"{before.declared.broker.reference}.",
                to_do="Stop this `stoa up` and start it again, or give the broker its name back.",
            )
        after = self._deployment = self._deploy(declared)
        self._broken = False
        return Change(before=before, after=after, mended=was_broken)

    def node_is_ready(self) -> None:
        """The store exists from now on. Raises DataFolderError."""
        establish_world(self._data, self.world)

    def _deploy(self, declared: Declared) -> Deployment:
        return deploy(declared, self._data, self.world, self._surroundings, self._now())


async def up(options: Options, reporter: Reporter, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Returns after a clean stop. Raises ExpectedError if it could not start."""
    declared = read_broker(options.folder)
    root = options.data or default_root(Path.cwd(), declared.broker.metadata.name)
    data = DataFolder(root)
    with locked(data), admin_socket(data, node_name(declared)) as socket_path:
        reconciler = Reconciler(options, data, socket_path)
        deployment = await asyncio.to_thread(reconciler.start, declared)
        check_ports(deployment.settings.listeners)
        answers = NodeAnswers(reporter)
        async with _running_node(deployment, answers) as supervisor:
            ready = await _ready_or_stop(supervisor, stop)
            if ready is None:
                return
            reconciler.node_is_ready()
            reporter.ready(deployment, ready)
            _write_ready_file(options, deployment)
            await _serve(
                _follow_folder(reconciler, reporter, answers, options.watched, deployment.settings),
                _follow_status(reporter, socket_path),
                stop=stop,
            )
            reporter.stopping()


@contextlib.asynccontextmanager
async def _running_node(deployment: Deployment, answers: NodeAnswers) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(
        deployment.settings.node, node_launcher(deployment.settings_file), answers.take, clock=time.monotonic
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


async def _serve(*following: Coroutine[None, None, None], stop: asyncio.Event) -> None:
    """Follow the folder and the node's counters until stopped."""
    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(each) for each in following]
        await stop.wait()
        for follower in followers:
            follower.cancel()


async def _follow_folder(
    reconciler: Reconciler, reporter: Reporter, answers: NodeAnswers, folder: Path, in_force: NodeSettings
) -> None:
    """`in_force`: the settings that the node started with."""
    async for asked_for in changes(folder):
        answers.expect()
        try:
            change = await asyncio.to_thread(reconciler.reconcile)
        except ExpectedError as error:
            answers.forget()
            reporter.refused(error)
            continue
        taken = await _taken(change, answers, in_force)
        if taken:
            in_force = change.after.settings
        sentence = change.sentence(taken)
        if sentence and (asked_for or change.mended):
            reporter.changed(change.after, sentence)


async def _taken(change: Change, answers: NodeAnswers, in_force: NodeSettings) -> bool | None:
    if not change.settings_changed:
        answers.forget()
        return None
    taken = await answers.wait()
    # A node that refused a change says nothing when it is taken back: it has those settings already.
    return True if taken is None and change.after.settings == in_force else taken


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
