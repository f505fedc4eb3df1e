"""What is made for Prometheus and Grafana.

Knows the switches; does not know metrics, alerts or boards.
"""

from typing import Annotated

from pydantic import Field, StrictBool

from mqtt_api.kinds.quantities import Duration, DurationBetween
from mqtt_api.kinds.services import ChildLabels
from mqtt_api.kinds.shape import Shape

Interval = Annotated[Duration, DurationBetween("5s", "1h")]


class ServiceMonitor(Shape):
    """The object by which the Prometheus operator finds the nodes."""

    enabled: StrictBool = Field(default=False, description="Whether a ServiceMonitor is made.")
    labels: ChildLabels = Field(default={}, description="Labels of it, by which a Prometheus chooses it.")
    interval: Interval | None = Field(
        default=None, description="How often the nodes are asked. Absent: as often as that Prometheus does."
    )


class PrometheusRule(Shape):
    """The object by which the Prometheus operator finds the alerts."""

    enabled: StrictBool = Field(default=False, description="Whether a PrometheusRule is made.")
    labels: ChildLabels = Field(default={}, description="Labels of it, by which a Prometheus chooses it.")
    interval: Interval | None = Field(
        default=None, description="How often the alerts are looked at. Absent: as often as that Prometheus does."
    )


class Dashboards(Shape):
    """ConfigMaps by which Grafana finds the boards."""

    enabled: StrictBool = Field(default=False, description="Whether ConfigMaps with the boards are made.")
    labels: ChildLabels = Field(
        default={}, description='Labels of them, by which Grafana chooses them. Absent: grafana_dashboard: "1".'
    )


class Monitoring(Shape):
    """What is made for Prometheus and Grafana besides the metrics, which every node always serves."""

    service_monitor: ServiceMonitor = Field(
        default=ServiceMonitor(), description="How the Prometheus operator finds the nodes."
    )
    prometheus_rule: PrometheusRule = Field(
        default=PrometheusRule(), description="How the Prometheus operator finds the alerts."
    )
    dashboards: Dashboards = Field(default=Dashboards(), description="How Grafana finds the boards.")
