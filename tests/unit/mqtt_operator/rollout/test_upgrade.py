"""Which image the nodes run."""

import pytest

from mqtt_api.kinds.mqttbroker import UpgradePolicy
from mqtt_operator.rollout.upgrade import Choice, Wishes, choose_image

AUTOMATIC, MANUAL = UpgradePolicy.AUTOMATIC, UpgradePolicy.MANUAL


def wishes(
    asked: str | None = None,
    policy: UpgradePolicy = AUTOMATIC,
    running: str | None = "old",
    before_us: str | None = None,
) -> Wishes:
    return Wishes(asked=asked, policy=policy, running=running, release="new", before_us=before_us)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        pytest.param(wishes(asked="mine"), Choice(image="mine"), id="the one that is asked for"),
        pytest.param(wishes(asked="mine", policy=MANUAL, before_us="a/b"), Choice(image="mine"), id="whatever else is"),
        pytest.param(wishes(running=None), Choice(image="new"), id="a new broker gets the release"),
        pytest.param(wishes(running=None, policy=MANUAL, before_us="a/b"), Choice(image="new"), id="at once"),
        pytest.param(wishes(running="new", policy=MANUAL), Choice(image="new"), id="what runs is the release"),
        pytest.param(wishes(), Choice(image="new", is_upgrade=True), id="an upgrade"),
        pytest.param(wishes(policy=MANUAL), Choice(image="old", held="upgradePolicy is Manual"), id="held by hand"),
        pytest.param(
            wishes(before_us="a/b"),
            Choice(image="old", held="MQTTBroker a/b is upgraded first", waits_for_turn=True),
            id="another broker's turn",
        ),
    ],
)
def test_each_wish_has_one_image(given: Wishes, choice: Choice) -> None:
    assert choose_image(given) == choice
