"""When a will is due. Pure: moments come in as arguments."""

from mqtt_broker.session.session import NEVER_S
from mqtt_broker.wire.packets import Will


def due_at(will: Will | None, expiry_interval_s: int, closed_at: float) -> float | None:
    """The moment the will is published after an abnormal end, in the clock of `closed_at`; None without a will.

    The delay ends early when the session does, and a session with expiry 0 ends at once.
    """
    if will is None:
        return None
    delay = will.properties.will_delay_interval or 0
    if expiry_interval_s != NEVER_S:
        delay = min(delay, expiry_interval_s)  # [MQTT-3.1.2-8]
    return closed_at + delay
