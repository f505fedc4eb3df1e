"""What `stoa up` shows on a terminal: where the broker is, its counters once a second, and the last refusals.

Knows colours and boxes; does not know what happens, only what it is told. Text from outside is never read as markup.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mqtt_operator.cli import view
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.node_answers import SETTINGS_APPLIED
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus

# A storm of refusals must not become one of drawing: so many are told a second, the others are counted.
REFUSALS_PER_STATUS_MAX = 5
# A device that tries again and again is told once, until so many others were, or until the files change.
REFUSALS_REMEMBERED_MAX = 50

# Kinds of line that would scroll everything else away on a busy broker; the counters tell of them.
_QUIET_LEVELS = frozenset({"debug", "info"})


class ScreenReporter:
    """A Reporter for a terminal. To be used as a context manager: it holds the screen's last lines meanwhile."""

    def __init__(self, folder: Path, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._console = console
        self._monotonic = monotonic
        self._status: NodeStatus | None = None
        self._status_at = 0.0
        self._rates = view.Rates()
        self._refusals: list[NodeEvent] = []
        self._refusals_untold = 0
        self._told: deque[str] = deque(maxlen=REFUSALS_REMEMBERED_MAX)
        self._running = False
        # No thread of rich's own: it would read our state while we change it.
        self._live = Live(console=console, auto_refresh=False, get_renderable=self.render)

    def __enter__(self) -> Self:
        self._console.print(Text("Starting ...", style="dim"))
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._stop_live()
        if error is None:
            self._say("stopped", "dim")

    def ready(self, deployment: Deployment, event: NodeEvent) -> None:
        del event
        self._console.print(_header(deployment))
        for note in deployment.declared.notes:
            self._print(f"note: {note}", "yellow")
        for hint in view.what_to_type(deployment):
            self._print(f"# {hint.title}", "dim")
            for line in hint.lines:
                self._print(line, "")
        self._live.start(refresh=True)
        self._running = True

    def changed(self, deployment: Deployment, sentence: str) -> None:
        self._told.clear()
        self._say(sentence, "green")
        for note in deployment.declared.notes:
            self._say(f"note: {note}", "yellow")

    def refused(self, error: ExpectedError) -> None:
        self._say(f"NOT APPLIED, what was before still holds: {error}", "bold red")

    def event(self, event: NodeEvent) -> None:
        if event.is_refusal:
            self._remember(event)
        elif event.event == SETTINGS_APPLIED:
            self._say(event.message, "green")
        elif event.level not in _QUIET_LEVELS:
            self._say(event.message or event.event, "red" if event.is_failure else "yellow")

    def status(self, status: NodeStatus | None) -> None:
        now = self._monotonic()
        if status is not None:
            self._rates = view.rates(self._status, status, now - self._status_at)
            self._status_at = now
        self._status = status
        self._tell_refusals()
        self._live.refresh()

    def stopping(self) -> None:
        self._stop_live()
        self._say("Stopping ...", "dim")

    def render(self) -> RenderableType:
        """The part that changes, drawn anew with each status. Lines to be copied are not in it: it would cut them."""
        return _counters(self._status, self._rates)

    def _remember(self, event: NodeEvent) -> None:
        if event.message in self._told:
            return
        if len(self._refusals) == REFUSALS_PER_STATUS_MAX:
            self._refusals_untold += 1
            return
        self._told.append(event.message)
        self._refusals.append(event)

    def _tell_refusals(self) -> None:
        for event in self._refusals:
            self._print(f"{view.clock(event)} {event.message}", "red")
            question = view.ask_about(event, self._folder)
            if question is not None:
                self._print(f"         try: {question}", "dim")
        if self._refusals_untold:
            self._print(f"         ... and {self._refusals_untold} more refusals", "red")
        self._refusals.clear()
        self._refusals_untold = 0

    def _stop_live(self) -> None:
        if self._running:
            self._running = False
            self._tell_refusals()
            self._live.stop()

    def _say(self, text: str, style: str) -> None:
        self._print(f"{view.clock(NodeEvent())} {text}", style)

    def _print(self, text: str, style: str) -> None:
        """Soft-wrapped: a line that is copied must not hold line breaks of ours."""
        self._console.print(Text(text, style=style), soft_wrap=True)


def _header(deployment: Deployment) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, text in view.header(deployment):
        table.add_row(label, Text(text))
    return Panel(table, title=Text(deployment.settings.broker), title_align="left", border_style="green", expand=False)


def _counters(status: NodeStatus | None, rates: view.Rates) -> RenderableType:
    if status is None:
        return Text("No counters from the node yet.", style="yellow")
    table = Table(box=None, padding=(0, 1), header_style="dim")
    nodes = {"nodes": f"{status.nodes}/{status.nodes_wanted}"} if status.nodes_wanted > 1 else {}
    counters = nodes | {
        "online": f"{status.connections}",
        "sessions": f"{status.sessions}",
        "subs": f"{status.subscriptions}",
        "retained": f"{status.retained}",
        "in/s": f"{rates.received:.0f}",
        "out/s": f"{rates.sent:.0f}",
        "dropped": f"{status.messages_dropped}",
        "denied": f"{status.denials}",
        "policy": f"r{status.policy_revision}",
    }
    for title in counters:
        table.add_column(title, justify="right")
    table.add_row(*counters.values())
    return table
