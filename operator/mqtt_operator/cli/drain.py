"""`stoa drain`: send one node's clients to the others, and the node away."""

from pathlib import Path

import click

from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.cli.few_mistakes import few_mistakes
from mqtt_operator.cli.options import FOLDER, FOLDER_WITHOUT_DATA
from mqtt_operator.local.draining import check_can_drain, drain
from mqtt_operator.local.run_document import find_run

SECONDS_MAX = 300.0


@click.command("drain")
@click.argument("node")
@click.option("-f", "--folder", type=FOLDER, default=Path(), help="Folder of YAML files. [default: here]")
@click.option("--data", type=FOLDER_WITHOUT_DATA, help="The data folder of its `stoa up`. [default: .stoa/BROKER]")
@click.option("--timeout", type=click.FloatRange(min=1.0), default=SECONDS_MAX, show_default=True, help="Seconds.")
def command(node: str, folder: Path, data: Path | None, timeout: float) -> None:
    """Tell NODE to leave, and wait until it has: exit code 0.

    It takes no new clients, asks its own to connect elsewhere, at the pace of spec.drain, and ends. Sessions and queues
    are in the store: nothing is lost, and no will is published for a client that comes back in time. The node stays
    away until `stoa up` is started again.
    """
    with few_mistakes("with -f"):
        run = find_run(folder, data)
    check_can_drain(run, node)
    assert run.store is not None
    if drain(SharedStore(run.store), node, click.echo, timeout):
        click.echo(f"{node} has left; it is back when `stoa up` is started again.")
    else:
        click.echo(f"{node} is not there: nothing to do.")
