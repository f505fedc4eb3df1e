"""The operator program with stories that only tell that they were told: for tests of the program around them.

Each pass prints one line of JSON: which story, of which broker, what was known. A broker with the annotation
mqtt.stoa.dev/stand-in: bug | waits makes its passes fail. Started as a module, with the operator's own arguments.
With STAND_IN_GROUP in its environment it needs the definitions in that group instead of in ours.
"""

import json
import os
import sys
from contextlib import AsyncExitStack

from mqtt_api.keys import GROUP
from mqtt_operator.__main__ import main, own_definitions
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.stories import Stories
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.settings import OperatorSettings

BEHAVIOUR = "mqtt.stoa.dev/stand-in"


class StandIn:
    """A story without a plot."""

    def __init__(self, story: str, registry: Registry) -> None:
        self._story = story
        self._registry = registry
        self._number = 0

    async def reconcile(self, key: BrokerKey) -> Outcome:
        seen = self._registry.broker(key)
        self._number += 1
        pass_ = {
            "story": self._story,
            "broker": str(key),
            "clients": sorted(str(each) for each in self._registry.clients_of(key)),
            "permissions": sorted(str(each) for each in self._registry.permissions_of(key)),
            "deleting": seen is not None and seen.deleting,
            "there": seen is not None,
            "mistakes": [] if seen is None else [str(each) for each in seen.mistakes],
        }
        print(json.dumps(pass_), flush=True)
        behaviour = seen.resource.metadata.annotations.get(BEHAVIOUR) if seen and seen.resource else None
        if behaviour == "bug":
            raise RuntimeError("a bug")
        if behaviour == "waits":
            raise ExpectedError("Somebody has something to mend.")
        return Outcome(f"pass {self._number}", is_over=pass_["deleting"] is True)

    def forget(self, _key: BrokerKey) -> None:
        """It remembers nothing."""


async def make_stories(_kube: Kube, registry: Registry, _settings: OperatorSettings, _stack: AsyncExitStack) -> Stories:
    return Stories(StandIn("broker", registry), StandIn("policy", registry), Exchange())


def definitions() -> list[Manifest]:
    group = os.environ.get("STAND_IN_GROUP", GROUP)
    return json.loads(json.dumps(own_definitions()).replace(GROUP, group))  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main(make_stories, definitions(), sys.argv[1:]))
