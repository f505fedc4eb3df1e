"""What the local reconciler tells the person in front of it, whatever that person looks at.

Knows the moments worth telling; does not know terminals.
"""

from typing import Protocol

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus


class Reporter(Protocol):
    """Called from the event loop, one call at a time; must not block."""

    def ready(self, deployment: Deployment, event: NodeEvent) -> None:
        """The node accepts clients. Called once."""
        ...

    def changed(self, deployment: Deployment, sentence: str) -> None:
        """A change of the files was applied, or meant nothing."""
        ...

    def refused(self, error: ExpectedError) -> None:
        """A change of the files was not applied; what was before holds."""
        ...

    def event(self, event: NodeEvent) -> None:
        """A line of the node."""
        ...

    def status(self, status: NodeStatus | None) -> None:
        """The node's counters, about once a second; None if it did not answer."""
        ...

    def stopping(self) -> None: ...
