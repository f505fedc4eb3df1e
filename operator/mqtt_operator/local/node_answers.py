"""What a node makes of settings that were written for it: whether it took them, and in which words people hear of it.

Knows the node's events about its settings and which field of an MQTTBroker each setting comes from; does not know files
or terminals. A file that was written is not yet a setting that holds: only the node says so.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.reporter import Reporter

SETTINGS_APPLIED = "settings.applied"
SETTINGS_REJECTED = "settings.rejected"
# A node looks at its settings within a second; a busy one may need longer, and is then not waited for.
ANSWER_S_MAX = 3.0

_FIELDS = {
    "node": "metadata.name",
    "broker": "metadata.namespace",
    "store": "spec.sessionStore",
    "store_bytes_max": "spec.sessionStore.embedded.storage",
}
_RESTART = "Stop this `stoa up` and start it again to have it, or give the field its former value back."


class Listener(Protocol):
    """The part of a Reporter that hears of nodes."""

    def refused(self, error: ExpectedError) -> None: ...
    def event(self, event: NodeEvent) -> None: ...


class NodeAnswers:
    """Between a node's events and a reporter: settings that were refused are told as such, the rest goes through."""

    def __init__(self, reporter: Listener) -> None:
        self._reporter = reporter
        self._answer: asyncio.Future[bool] | None = None

    def take(self, event: NodeEvent) -> None:
        """One event of the node."""
        if event.event == SETTINGS_REJECTED:
            self._reporter.refused(_refusal(event))
            self._resolve(taken=False)
        elif event.event != SETTINGS_APPLIED:
            self._reporter.event(event)
        elif not self._resolve(taken=True):
            words = "Applied: the node has all its settings as the files declare them."
            self._reporter.event(msgspec.structs.replace(event, message=words))

    def expect(self) -> None:
        """Settings may be written from now on: the next answer is about them."""
        self._answer = asyncio.get_running_loop().create_future()

    def forget(self) -> None:
        """Nothing was written: no answer is waited for."""
        self._answer = None

    async def wait(self, seconds: float = ANSWER_S_MAX) -> bool | None:
        """True: the node took what was written since `expect`. False: it did not, and that was told. None: silence."""
        answer = self._answer
        if answer is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            return None
        finally:
            self.forget()

    def _resolve(self, *, taken: bool) -> bool:
        """True if somebody waits for this answer."""
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_result(taken)
        return True


class AllAnswers:
    """The answers of several nodes as one: all took it, one refused it, or somebody is silent.

    What they say in the same words is told once; with several nodes, their lines say which of them speaks.
    """

    def __init__(self, reporter: Reporter, nodes: Sequence[str]) -> None:
        self._once = _Once(reporter)
        named = len(nodes) > 1
        self._each = {node: NodeAnswers(_Named(self._once, node) if named else reporter) for node in nodes}

    def taker(self, node: str) -> Callable[[NodeEvent], None]:
        """What takes the events of this node."""
        return self._each[node].take

    def expect(self) -> None:
        """Settings may be written from now on: the next answers are about them."""
        self._once.forget()
        for each in self._each.values():
            each.expect()

    def forget(self) -> None:
        """Nothing was written: no answers are waited for."""
        for each in self._each.values():
            each.forget()

    async def wait(self, seconds: float = ANSWER_S_MAX) -> bool | None:
        """True: all took what was written since `expect`. False: one did not, and that was told. None: silence."""
        answers = await asyncio.gather(*(each.wait(seconds) for each in self._each.values()))
        if False in answers:
            return False
        return None if None in answers else True


class _Once:
    """Passes on what several nodes say in the same words once, until it is told to forget."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._refusals: set[str] = set()

    def forget(self) -> None:
        self._refusals.clear()

    def refused(self, error: ExpectedError) -> None:
        if str(error) not in self._refusals:
            self._refusals.add(str(error))
            self._reporter.refused(error)

    def event(self, event: NodeEvent) -> None:
        self._reporter.event(event)


class _Named:
    """Says which node speaks, except where somebody was refused: it is the same everywhere."""

    def __init__(self, listener: Listener, node: str) -> None:
        self._listener = listener
        self._node = node

    def refused(self, error: ExpectedError) -> None:
        self._listener.refused(error)

    def event(self, event: NodeEvent) -> None:
        told = event.message and not event.is_refusal and not event.message.startswith(f"{self._node} ")
        self._listener.event(
            msgspec.structs.replace(event, message=f"{self._node}: {event.message}") if told else event
        )


def _refusal(event: NodeEvent) -> ExpectedError:
    fixed = event.fields.get("fixed")
    if isinstance(fixed, Sequence) and not isinstance(fixed, str) and fixed:
        fields = ", ".join(_FIELDS.get(str(name), str(name)) for name in fixed)
        return ExpectedError(
            "The node cannot change this while it runs, and took none of its new settings.",
            where=f"field: {fields}",
            to_do=_RESTART,
        )
    return ExpectedError(
        "The node could not take all its settings.",
        where=str(event.fields.get("problem") or event.message),
        to_do="Mend that; the node tries again by itself and says when it has them all.",
    )
