"""What a node makes of settings that were written for it: whether it took them, and in which words people hear of it.

Knows the node's events about its settings and which field of an MQTTBroker each setting comes from; does not know files
or terminals. A file that was written is not yet a setting that holds: only the node says so.
"""

import asyncio
from collections.abc import Sequence

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


class NodeAnswers:
    """Between a node's events and a reporter: settings that were refused are told as such, the rest goes through."""

    def __init__(self, reporter: Reporter) -> None:
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
