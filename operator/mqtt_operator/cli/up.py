"""`stoa up`: run the broker that a folder declares, and follow the folder.

Knows the command line, signals and which reporter fits the terminal; does not know how a broker is run.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_operator.cli.options import FOLDER, FOLDER_WITHOUT_DATA, Count
from mqtt_operator.cli.plain import PlainReporter
from mqtt_operator.cli.screen import ScreenReporter
from mqtt_operator.local.reconciler import Options
from mqtt_operator.local.reporter import Reporter
from mqtt_operator.local.running import up
from mqtt_operator.local.store_place import StoreWords

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command("up")
@click.argument("folder", type=FOLDER)
@click.option("--data", type=FOLDER_WITHOUT_DATA, help="Where to keep data and secrets. [default: .stoa/BROKER]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 = every one.")
@click.option("--nodes", type=Count(), help="How many nodes to run. [default: spec.replicas]")
@click.option(
    "--store",
    metavar="URL",
    help="The store that the nodes share: redis://HOST:PORT, rediss://HOST:PORT (TLS), "
    "redis+sentinel://HOST:PORT,.../MASTER, or auto: a redis-server or valkey-server of this machine, started and "
    "stopped along. [default: spec.sessionStore]",
)
@click.option("--store-password-file", type=FILE, help="The file with the password for --store.")
@click.option("--store-ca", type=FILE, help="The CA of a rediss:// store. [default: those of the system]")
@click.option(
    "--durability",
    type=click.Choice([DurabilityLevel.MEMORY.value, DurabilityLevel.DISK.value]),
    help="What the shared store must promise. [default: spec.sessionStore.durability]",
)
@click.option(
    "--accept-store", metavar="ID", help="Serve a Replicated store with this identity although it has lost writes."
)
@click.option("--front", is_flag=True, help="One entrance for all nodes, by HAProxy, at the declared ports.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), hidden=True)
def command(
    folder: Path,
    data: Path | None,
    host: str,
    nodes: int | None,
    store: str | None,
    store_password_file: Path | None,
    store_ca: Path | None,
    durability: str | None,
    accept_store: str | None,
    front: bool,
    ready_file: Path | None,
) -> None:
    """Run the MQTTBroker of FOLDER here, without Kubernetes, and apply every change of its files at once.

    Several nodes share their sessions through a store: --nodes 3 --store auto. Each further node takes the next port of
    every listener. Ctrl-C stops everything; sessions, passwords and certificates are kept in the data folder.
    """
    words = StoreWords(
        url=store,
        password_file=store_password_file,
        ca_file=store_ca,
        durability=None if durability is None else DurabilityLevel(durability),
    )
    options = Options(
        folder=folder,
        data=data,
        host=host,
        ready_file=ready_file,
        nodes=nodes,
        front=front,
        store=words,
        accept_store=accept_store,
    )
    with _reporter(folder) as reporter:
        asyncio.run(_run(options, reporter))


async def _run(options: Options, reporter: Reporter) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await up(options, reporter, stop)


def _reporter(folder: Path) -> contextlib.AbstractContextManager[Reporter]:
    """A screen where somebody watches one, lines elsewhere."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return ScreenReporter(folder, Console())
    return contextlib.nullcontext(PlainReporter(folder))
