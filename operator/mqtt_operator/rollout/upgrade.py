"""Which image the nodes of a broker run: the one asked for, the operator's own release, or the one they run already.

Knows the upgrade policy and whose turn it is; does not know how nodes are replaced. Pure.
"""

from msgspec import Struct

from mqtt_api.kinds.mqttbroker import UpgradePolicy


class Wishes(Struct, frozen=True, kw_only=True):
    """`asked`: the image that the broker names, None = it leaves that to the operator. `running`: the one that its
    StatefulSet has, None = there is none yet. `release`: the operator's own. `before_us`: a broker that is being
    upgraded now, or may be; None = nobody is.
    """

    asked: str | None
    policy: UpgradePolicy
    running: str | None
    release: str
    before_us: str | None = None


class Choice(Struct, frozen=True, kw_only=True):
    """`image`: what the nodes run from now on. `held`: why that is not the operator's release, "" if it is, or if
    another one was asked for. `waits_for_turn`: and it will be, by itself. `is_upgrade`: it is, and was not before.
    """

    image: str
    held: str = ""
    waits_for_turn: bool = False
    is_upgrade: bool = False


def choose_image(wishes: Wishes) -> Choice:
    """One broker at a time is upgraded: a release that fails should fail once."""
    if wishes.asked is not None:
        return Choice(image=wishes.asked)
    if wishes.running is None or wishes.running == wishes.release:
        return Choice(image=wishes.release)
    if wishes.policy is UpgradePolicy.MANUAL:
        return Choice(image=wishes.running, held="upgradePolicy is Manual")
    if wishes.before_us is not None:
        held = f"MQTTBroker {wishes.before_us} is upgraded first"
        return Choice(image=wishes.running, held=held, waits_for_turn=True)
    return Choice(image=wishes.release, is_upgrade=True)
