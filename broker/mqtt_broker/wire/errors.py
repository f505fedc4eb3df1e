"""The peer's fault, and only that: what a peer sent breaks the standard or one of our bounds.

The world's faults (a store that is away) and our own bugs are other families and never appear here.
"""

from mqtt_broker.wire.reasons import ReasonCode


class Violation(Exception):  # noqa: N818 - the peer erred, not we
    """The peer broke the protocol; the connection cannot go on.

    `reason` is what the peer may be told (MQTT 5.0). `detail` is for our log alone: it names what was wrong
    in our words and holds no byte of a password. It never reaches the wire.
    """

    def __init__(self, reason: ReasonCode, detail: str) -> None:
        super().__init__(f"{reason.name}: {detail}")
        self.reason = reason
        self.detail = detail
