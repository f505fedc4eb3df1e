"""`stoa nodes`: who is there, and how far each one is."""

import asyncio
from pathlib import Path

import click
import msgspec

from mqtt_operator.channel.terms import StoreAwayError
from mqtt_operator.cli.few_mistakes import few_mistakes
from mqtt_operator.cli.options import EXIT_FAILED, FOLDER, FOLDER_WITHOUT_DATA
from mqtt_operator.local.members import Look, NodeView, State, look_at
from mqtt_operator.local.run_document import find_run

HEADINGS = ("NODE", "STATE", "CONNECTIONS", "SESSIONS", "FEED", "LAG", "POLICY", "LISTENERS")
NOTHING = "-"
_COLOURS = {State.READY: "green", State.AWAY: "red", State.SILENT: "red"}


@click.command("nodes")
@click.argument("folder", type=FOLDER, default=Path())
@click.option("--data", type=FOLDER_WITHOUT_DATA, help="The data folder of its `stoa up`. [default: .stoa/BROKER]")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def command(ctx: click.Context, folder: Path, data: Path | None, output: str) -> None:
    """Show the nodes that `stoa up FOLDER` runs: exit code 0 if all are ready, else 1.

    FEED is how far a node has followed what all nodes must know, LAG how many entries it is behind, POLICY the revision
    it decides by.
    """
    with few_mistakes("as in `stoa nodes FOLDER`"):
        run = find_run(folder, data)
    look = asyncio.run(look_at(run))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(look.nodes)).decode())
    else:
        for line in table(look):
            click.echo(line, color=ctx.color)
    for line in told(look):
        click.echo(line, err=True)
    if look.problem is not None or any(each.state is not State.READY for each in look.nodes):
        ctx.exit(EXIT_FAILED)


def told(look: Look) -> list[str]:
    """What to do, where something is wrong. A store that ended along with its nodes comes back with them."""
    has_ended = all(each.state is State.AWAY for each in look.nodes)
    ended = ["No node runs: run `stoa up` again."] if has_ended else []
    if look.problem is None or (has_ended and isinstance(look.problem, StoreAwayError)):
        return ended
    return [*ended, str(look.problem)]


def table(look: Look) -> list[str]:
    """Headings and one line for each node, in columns."""
    rows = [HEADINGS, *(_row(each) for each in look.nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    states = [None, *(each.state for each in look.nodes)]
    return [_line(row, widths, state) for row, state in zip(rows, states, strict=True)]


def _row(view: NodeView) -> tuple[str, ...]:
    figures = (view.connections, view.sessions, view.feed, view.lag)
    policy = NOTHING if view.policy is None or view.policy < 0 else f"r{view.policy}"
    return (
        view.node,
        view.state.value,
        *(NOTHING if figure is None else str(figure) for figure in figures),
        policy,
        view.address or NOTHING,
    )


def _line(row: tuple[str, ...], widths: list[int], state: State | None) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    if state in _COLOURS:
        cells[1] = click.style(cells[1], fg=_COLOURS[state])
    return "  ".join(cells).rstrip()
