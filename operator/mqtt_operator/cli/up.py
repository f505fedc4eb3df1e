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

from mqtt_operator.cli.options import FOLDER, Count
from mqtt_operator.cli.plain import PlainReporter
from mqtt_operator.cli.screen import ScreenReporter
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.reconciler import Options, up
from mqtt_operator.local.reporter import Reporter

FOLDER_WITHOUT_DATA = click.Path(file_okay=False, path_type=Path)


@click.command("up")
@click.argument("folder", type=FOLDER)
@click.option("--data", type=FOLDER_WITHOUT_DATA, help="Where to keep data and secrets. [default: .stoa/BROKER]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 = every one.")
@click.option("--nodes", type=Count(), default=1, show_default=True, help="How many nodes to run.")
@click.option("--store", metavar="URL", help="The store that the nodes share.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), hidden=True)
def command(folder: Path, data: Path | None, host: str, nodes: int, store: str | None, ready_file: Path | None) -> None:
    """Run the MQTTBroker of FOLDER here, without Kubernetes, and apply every change of its files at once.

    Ctrl-C stops it; sessions, passwords and certificates are kept in the data folder.
    """
    if nodes > 1 or store is not None:
        raise ExpectedError(
            "A cluster shares its sessions through Redis, which this version does not speak yet.",
            to_do="Leave --nodes and --store out: one node keeps sessions, queues and retained messages over restarts.",
        )
    options = Options(folder=folder, data=data, host=host, ready_file=ready_file)
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
