"""Brokers by condition, as a scrape shows them."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from mqtt_operator.observability.conditions import BrokerConditions


def scraped(*statuses: dict[str, Any]) -> set[str]:
    registry = CollectorRegistry()
    registry.register(BrokerConditions(lambda: statuses))
    return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}


def with_conditions(**conditions: str) -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": status} for name, status in conditions.items()]}


def test_every_condition_has_its_series_from_the_start() -> None:
    assert scraped() == {
        f'stoa_operator_brokers{{condition="{name}"}} 0.0'
        for name in ("Reconciling", "Stalled", "SecurityPostureLowered", "Paused")
    }


def test_brokers_are_counted_where_the_condition_is_true_and_only_there() -> None:
    found = scraped(
        with_conditions(Stalled="True", Ready="False"),
        with_conditions(Stalled="False", SecurityPostureLowered="True"),
        with_conditions(Stalled="Unknown", SecurityPostureLowered="True"),
        {},
    )
    assert 'stoa_operator_brokers{condition="Stalled"} 1.0' in found
    assert 'stoa_operator_brokers{condition="SecurityPostureLowered"} 2.0' in found
    assert not any("Ready" in line for line in found)
