"""What a round promises: the words that judges measure by.

Knows numbers and names; the population and the judges share it, so that neither has to know the other.
"""

from msgspec import Struct


class Terms(Struct, frozen=True, kw_only=True):
    """`unspoken` and `unheard` are levels: no topic with one of them may be published to, or heard. `impostors` begin
    client ids that must never get in. Times are seconds. `patience` stretches the recovery times on a machine that is
    slow or shared; it stretches nothing else.
    """

    unspoken: tuple[str, ...] = ("denied",)
    unheard: tuple[str, ...] = ("denied", "unheard")
    impostors: tuple[str, ...] = ("impostor",)
    expiry_slack_s: float = 1.0
    will_slack_s: float = 2.0
    node_loss_s_max: float = 10.0
    store_return_s_max: float = 10.0
    drain_gap_s_max: float = 1.0
    healthy_s_max: float = 60.0
    patience: float = 1.0
    node_rss_bytes_max: int = 512 * 1024 * 1024
    node_fds_max: int = 1_000
    store_bytes_max: int = 512 * 1024 * 1024
    store_bytes_left_max: int = 128 * 1024 * 1024


def has_level(topic: str, levels: tuple[str, ...]) -> bool:
    """Whether one of these levels is in the topic or filter."""
    return any(level in levels for level in topic.split("/"))
