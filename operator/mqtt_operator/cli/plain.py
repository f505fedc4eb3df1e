"""What `stoa up` prints where nobody watches a screen: one line per thing worth telling, for people and for `grep`.

Knows lines; does not know colours or counters.
"""

from pathlib import Path

import click

from mqtt_operator.cli import view
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus
from mqtt_operator.local.supervisor import READY_EVENT


class PlainReporter:
    """A Reporter that prints. What went wrong goes to stderr, the rest to stdout; every line is flushed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ready(self, deployment: Deployment, event: NodeEvent) -> None:
        self._line(event, f"READY {deployment.settings.broker}")
        for line in start_lines(deployment):
            click.echo(line)

    def changed(self, deployment: Deployment, sentence: str) -> None:
        self._line(NodeEvent(), sentence)
        for note in deployment.declared.notes:
            click.echo(f"note: {note}", err=True)

    def refused(self, error: ExpectedError) -> None:
        click.echo(f"{view.clock(NodeEvent())} NOT APPLIED, what was before still holds: {error}", err=True)

    def event(self, event: NodeEvent) -> None:
        if event.event != READY_EVENT:
            self._line(event, event.message or event.event)
        if event.is_refusal:
            question = view.ask_about(event, self._folder)
            if question is not None:
                click.echo(f"         try: {question}")

    def status(self, status: NodeStatus | None) -> None:
        """Nobody wants a line per second."""

    def stopping(self) -> None:
        self._line(NodeEvent(), "Stopping.")

    @staticmethod
    def _line(event: NodeEvent, text: str) -> None:
        click.echo(f"{view.clock(event)} {text}", err=event.is_failure)


def start_lines(deployment: Deployment) -> list[str]:
    """Where the broker is, and what to type."""
    lines = [f"  {label:<9} {text}" for label, text in view.header(deployment)]
    lines += [f"  note      {note}" for note in deployment.declared.notes]
    for hint in view.what_to_type(deployment):
        lines += ["", f"# {hint.title}", *hint.lines]
    return [*lines, ""]
