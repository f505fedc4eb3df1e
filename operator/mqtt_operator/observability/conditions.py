"""How many brokers have a condition, as a metric: what alerts about stalled or weakened brokers are made of.

Knows the shape of a status; does not know who keeps them. The conditions are a fixed set: each has its series.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mqtt_api.conditions import ConditionStatus, ConditionType

COUNTED = (
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SECURITY_POSTURE_LOWERED,
    ConditionType.PAUSED,
)


class BrokerConditions(Collector):
    """Asks `statuses`, of all brokers that are served, at each scrape."""

    def __init__(self, statuses: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._statuses = statuses

    def describe(self) -> list[Metric]:
        """The registry must not ask before there is anything to ask."""
        return [_family()]

    def collect(self) -> list[Metric]:
        counts = dict.fromkeys(COUNTED, 0)
        for status in self._statuses():
            for condition in status.get("conditions", ()):
                if condition["type"] in counts and condition["status"] == ConditionStatus.TRUE:
                    counts[condition["type"]] += 1
        family = _family()
        for condition, count in counts.items():
            family.add_metric([condition], count)
        return [family]


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily("stoa_operator_brokers", "Brokers that have this condition.", labels=["condition"])
