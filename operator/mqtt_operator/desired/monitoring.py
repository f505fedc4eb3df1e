"""What is made for Prometheus and Grafana, where people ask for it: how nodes are found, alerts, boards.

Knows the objects around them; does not know metrics, alerts or boards: those come in as they are for this broker.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.headless_service import HEADLESS_LABEL
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import CONFIG_MAP, PROMETHEUS_RULE, SERVICE_MONITOR
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned

DASHBOARD_LABELS = {"grafana_dashboard": "1"}
DASHBOARD_ANNOTATIONS = {"grafana_folder": "MQTT"}


def monitoring(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """What is enabled, as far as the API server knows the kinds."""
    wanted = broker.spec.monitoring
    made: list[Manifest] = []
    if wanted.service_monitor.enabled and inputs.has_service_monitors:
        made.append(_service_monitor(broker, inputs))
    if wanted.prometheus_rule.enabled and inputs.has_prometheus_rules and inputs.alert_groups:
        made.append(_prometheus_rule(broker, inputs))
    if wanted.dashboards.enabled:
        made += [_dashboard(broker, inputs, name, text) for name, text in sorted(inputs.dashboards.items())]
    return made


def _service_monitor(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    wanted, name = broker.spec.monitoring.service_monitor, broker.metadata.name
    endpoint: Manifest = {
        "port": names.HTTP_PORT_NAME,
        "path": names.METRICS_PATH,
        # Which broker a series is about; namespace and pod are there by themselves.
        "relabelings": [{"action": "replace", "targetLabel": "broker", "replacement": name}],
    }
    if wanted.interval is not None:
        endpoint["interval"] = str(wanted.interval)
    spec = {
        "selector": {"matchLabels": {**selector(name, Component.BROKER), HEADLESS_LABEL: "true"}},
        "endpoints": [endpoint],
    }
    return owned(broker, inputs, SERVICE_MONITOR, names.service_monitor(name), more_labels=wanted.labels, spec=spec)


def _prometheus_rule(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    wanted, name = broker.spec.monitoring.prometheus_rule, broker.metadata.name
    groups = list(inputs.alert_groups)
    if wanted.interval is not None:
        groups = [{**group, "interval": str(wanted.interval)} for group in groups]
    return owned(
        broker,
        inputs,
        PROMETHEUS_RULE,
        names.prometheus_rule(name),
        more_labels=wanted.labels,
        spec={"groups": groups},
    )


def _dashboard(broker: MQTTBroker, inputs: Inputs, board: str, text: str) -> Manifest:
    return owned(
        broker,
        inputs,
        CONFIG_MAP,
        names.dashboard(broker.metadata.name, board),
        annotations=DASHBOARD_ANNOTATIONS,
        more_labels=broker.spec.monitoring.dashboards.labels or DASHBOARD_LABELS,
        data={f"{board}.json": text},
    )
