"""Writes the dashboards of mqtt_operator.observability from the descriptions here; with --check tells which are stale.

Knows what is shown and how Grafana wants it written; does not know how a metric is counted.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hack import generated  # noqa: E402 - found through the path

FOLDER = ROOT / "operator" / "mqtt_operator" / "observability" / "dashboards"
GRID_COLUMNS = 24
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
STATS_IN_A_ROW, GRAPHS_IN_A_ROW = 6, 3
SCHEMA_VERSION = 39

Json = dict[str, Any]


class Panel(NamedTuple):
    """`queries`: PromQL to the text of its legend. `kind`: stat or timeseries. `alarm`: red from this value on."""

    title: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    about: str = ""
    alarm: float | None = None


class Board(NamedTuple):
    """`variables`: name to the query for its values; `rows`: title to panels."""

    name: str
    title: str
    about: str
    variables: Mapping[str, str]
    rows: Mapping[str, Sequence[Panel]]


NODES = '{namespace="$namespace",broker="$broker",pod=~"$pod"}'
BROKER = '{namespace="$namespace",broker="$broker"}'
BROKER_VARIABLES = {
    "namespace": "label_values(stoa_build_info, namespace)",
    "broker": 'label_values(stoa_build_info{namespace="$namespace"}, broker)',
    "pod": 'label_values(stoa_build_info{namespace="$namespace",broker="$broker"}, pod)',
}


def rate(metric: str, by: str = "", selector: str = NODES) -> str:
    """How fast a total grows, over all nodes or by a label."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{selector}[$__rate_interval]))"


def total(metric: str, by: str = "", how: str = "sum") -> str:
    """A level, over all nodes or by a label."""
    grouped = f" by ({by})" if by else ""
    return f"{how}{grouped} ({metric}{NODES})"


def narrowed(selector: str, matcher: str) -> str:
    """The selector, asking for one more label."""
    return f"{selector.removesuffix('}')},{matcher}}}"


def stat(title: str, unit: str, query: str, about: str = "", alarm: float | None = None) -> Panel:
    return Panel(title, unit, {query: ""}, "stat", about, alarm)


def graph(title: str, unit: str, queries: Mapping[str, str], about: str = "") -> Panel:
    return Panel(title, unit, queries, "timeseries", about)


BROKER_BOARD = Board(
    "broker",
    "MQTT broker",
    "One broker: its nodes, traffic, sessions, store and cluster.",
    BROKER_VARIABLES,
    {
        "Overview": (
            stat("Nodes that answer", "short", f"sum (up{BROKER})"),
            stat("Clients connected", "short", total("stoa_connections")),
            stat("Messages in", "mps", rate("stoa_messages_received_total")),
            stat("Messages out", "mps", rate("stoa_messages_sent_total")),
            stat("Sessions", "short", total("stoa_sessions", how="max"), "Every node knows all of them."),
            stat("Overload level", "short", total("stoa_overload_level", how="max"), "0: nothing is shed.", alarm=1),
        ),
        "Messages": (
            graph(
                "Messages",
                "mps",
                {rate("stoa_messages_received_total"): "in", rate("stoa_messages_sent_total"): "out"},
                "PUBLISH packets from and to clients.",
            ),
            graph(
                "Payload",
                "Bps",
                {rate("stoa_received_payload_bytes_total"): "in", rate("stoa_sent_payload_bytes_total"): "out"},
            ),
            graph(
                "Dropped copies by reason",
                "mps",
                {rate("stoa_messages_dropped_total", "reason"): "{{reason}}"},
                "Copies of messages that a receiver does not get.",
            ),
            graph("Messages in by node", "mps", {rate("stoa_messages_received_total", "pod"): "{{pod}}"}),
            graph("Messages out by node", "mps", {rate("stoa_messages_sent_total", "pod"): "{{pod}}"}),
            graph(
                "Clients not read for a while, by reason",
                "ops",
                {rate("stoa_reading_pauses_total", "reason"): "{{reason}}"},
                "Back-pressure: nothing is lost.",
            ),
        ),
        "Connections": (
            graph("Clients connected by node", "short", {total("stoa_connections", "pod"): "{{pod}}"}),
            graph(
                "Connections of listeners, share of what they take",
                "percentunit",
                {
                    f"{total('stoa_listener_connections', 'listener')} / "
                    f"{total('stoa_listener_connections_max', 'listener')}": "{{listener}}"
                },
            ),
            graph(
                "Connections opened, accepted, refused",
                "ops",
                {
                    rate("stoa_connections_opened_total"): "opened",
                    rate("stoa_connects_received_total"): "CONNECT",
                    rate("stoa_connections_accepted_total"): "accepted",
                    rate("stoa_connections_refused_total"): "refused",
                    rate("stoa_connections_delayed_total"): "delayed",
                },
            ),
        ),
        "Packets": (
            graph(
                "Packets",
                "pps",
                {rate("stoa_packets_received_total"): "in", rate("stoa_packets_sent_total"): "out"},
                "MQTT packets of every type.",
            ),
            graph("Bytes", "Bps", {rate("stoa_received_bytes_total"): "in", rate("stoa_sent_bytes_total"): "out"}),
            graph("Bytes waiting in memory for receivers", "bytes", {total("stoa_buffered_bytes", "pod"): "{{pod}}"}),
        ),
        "Sessions": (
            graph(
                "Sessions, subscriptions, retained messages",
                "short",
                {
                    total("stoa_sessions", how="max"): "sessions",
                    total("stoa_subscriptions", how="max"): "subscriptions",
                    total("stoa_shared_subscriptions", how="max"): "shared subscriptions",
                    total("stoa_retained_messages", how="max"): "retained messages",
                },
                "Every node knows all of them.",
            ),
            graph("Messages in the store", "short", {total("stoa_store_messages", how="max"): "messages"}),
            graph("Sessions that expired", "ops", {rate("stoa_sessions_expired_total"): "expired"}),
        ),
        "Store": (
            graph("The store answers", "short", {total("stoa_store_available", "pod", "min"): "{{pod}}"}),
            graph(
                "A call of the store takes",
                "s",
                {
                    f"{rate('stoa_store_call_seconds_total', 'pod')} / "
                    f"({rate('stoa_store_calls_total', 'pod')} > 0)": "{{pod}}"
                },
                "Mean time of a batch of operations.",
            ),
            graph("Operations waiting", "short", {total("stoa_store_operations_waiting", "pod"): "{{pod}}"}),
            graph("Calls", "ops", {rate("stoa_store_calls_total", "pod"): "{{pod}}"}),
            graph("Calls without an answer", "ops", {rate("stoa_store_failures_total", "pod"): "{{pod}}"}),
            graph("Bytes of messages in the store", "bytes", {total("stoa_store_message_bytes", how="max"): "bytes"}),
        ),
        "Cluster": (
            graph(
                "Time that a lease still lasts",
                "s",
                {total("stoa_lease_remaining_seconds", "pod", "min"): "{{pod}}"},
                "Between 3.5 s and 5 s while all is well; a node freezes at 0.",
            ),
            graph("Renewing a lease takes", "s", {total("stoa_lease_renewal_seconds", "pod", "max"): "{{pod}}"}),
            graph(
                "Frozen and fenced nodes",
                "short",
                {
                    total("stoa_frozen", "pod", "max"): "{{pod}} frozen",
                    f"sum (increase(stoa_nodes_fenced_total{NODES}[$__rate_interval]))": "fenced",
                },
            ),
            graph("Changes that the slowest node has not applied", "short", {total("stoa_feed_lag", how="max"): "lag"}),
            graph(
                "Answers to SUBSCRIBE wait for other nodes",
                "s",
                {f"{rate('stoa_barrier_wait_seconds_total')} / ({rate('stoa_barrier_waits_total')} > 0)": "mean wait"},
            ),
            graph("Policy revision by node", "none", {total("stoa_policy_revision", "pod", "max"): "{{pod}}"}),
        ),
        "Process": (
            graph("CPU", "percentunit", {rate("process_cpu_seconds_total", "pod"): "{{pod}}"}, "1 is one core."),
            graph("Memory", "bytes", {total("process_resident_memory_bytes", "pod"): "{{pod}}"}),
            graph(
                "Open files and sockets, share of what it may have",
                "percentunit",
                {f"{total('process_open_fds', 'pod')} / {total('process_max_fds', 'pod')}": "{{pod}}"},
            ),
            graph("Overload level", "short", {total("stoa_overload_level", "pod", "max"): "{{pod}}"}),
            graph("Runs for", "s", {f"time() - {total('process_start_time_seconds', 'pod', 'max')}": "{{pod}}"}),
            graph("Nodes by release", "short", {total("stoa_build_info", "version", "count"): "{{version}}"}),
        ),
    },
)

SECURITY_BOARD = Board(
    "security",
    "MQTT security",
    "Who was refused and why, certificates, and whether every node decides by the same policy.",
    BROKER_VARIABLES,
    {
        "Now": (
            stat("Failed log-ins", "ops", rate("stoa_authentication_failures_total"), alarm=1),
            stat("Denials", "ops", rate("stoa_denials_total"), "Publishes, subscriptions and wills.", alarm=1),
            stat("Failed TLS handshakes", "ops", rate("stoa_tls_failures_total"), alarm=1),
            stat("Connections refused", "ops", rate("stoa_connections_refused_total"), alarm=1),
            stat("Protocol violations", "ops", rate("stoa_protocol_violations_total"), alarm=1),
            stat(
                "First certificate ends in",
                "s",
                f"min (stoa_certificate_not_after_timestamp_seconds{NODES}) - time()",
                "The certificate of a listener that ends first.",
            ),
        ),
        "Who one is": (
            graph("Failed log-ins by node", "ops", {rate("stoa_authentication_failures_total", "pod"): "{{pod}}"}),
            graph(
                "Failed, of all that send CONNECT",
                "percentunit",
                {
                    f"{rate('stoa_authentication_failures_total')} / "
                    f"({rate('stoa_connects_received_total')} > 0)": "failed"
                },
            ),
            graph("Connections refused by node", "ops", {rate("stoa_connections_refused_total", "pod"): "{{pod}}"}),
        ),
        "What one may": (
            graph("Denials by node", "ops", {rate("stoa_denials_total", "pod"): "{{pod}}"}),
            graph(
                "Copies that lost their right while they waited",
                "mps",
                {rate("stoa_messages_dropped_total", selector=narrowed(NODES, 'reason="revoked"')): "revoked"},
            ),
            graph(
                "Policy revision by node",
                "none",
                {total("stoa_policy_revision", "pod", "max"): "{{pod}}"},
                "Equal within a second of a change.",
            ),
        ),
        "Transport": (
            graph("Failed TLS handshakes by node", "ops", {rate("stoa_tls_failures_total", "pod"): "{{pod}}"}),
            graph("Protocol violations by node", "ops", {rate("stoa_protocol_violations_total", "pod"): "{{pod}}"}),
            graph(
                "Certificates end in",
                "s",
                {
                    f"min by (listener) (stoa_certificate_not_after_timestamp_seconds{NODES}) - time()": "{{listener}}",
                },
            ),
        ),
        "Limits": (
            graph(
                "Connections of listeners, share of what they take",
                "percentunit",
                {
                    f"{total('stoa_listener_connections', 'listener')} / "
                    f"{total('stoa_listener_connections_max', 'listener')}": "{{listener}}"
                },
            ),
            graph("Connections that waited", "ops", {rate("stoa_connections_delayed_total", "pod"): "{{pod}}"}),
            graph("Overload level", "short", {total("stoa_overload_level", "pod", "max"): "{{pod}}"}),
        ),
    },
)

OPERATOR = '{namespace="$namespace",pod=~"$pod"}'
_PASS = "stoa_operator_reconcile_duration_seconds"
_PROPAGATION = "stoa_operator_policy_propagation_seconds"


def operators(how: str, metric: str, matcher: str) -> str:
    """A level of all operators, or of the one that works, where one label has this value."""
    return f"{how} ({metric}{narrowed(OPERATOR, matcher)})"


def within(share: float, metric: str, by: str = "") -> str:
    """The time that this share of what a histogram observed keeps within."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{OPERATOR}[$__rate_interval])))"


OPERATOR_BOARD = Board(
    "operator",
    "MQTT operator",
    "The operator: what it looks after, how often and how long it works on it, and what fails.",
    {
        "namespace": "label_values(stoa_operator_leader, namespace)",
        "pod": 'label_values(stoa_operator_leader{namespace="$namespace"}, pod)',
    },
    {
        "Now": (
            stat("Pods that lead", "short", f"sum (stoa_operator_leader{OPERATOR})", "One, or nothing is done."),
            stat("Clients", "short", operators("max", "stoa_operator_resources", 'kind="MQTTClient"')),
            stat("Permissions", "short", operators("max", "stoa_operator_resources", 'kind="TopicPermission"')),
            stat("Stalled brokers", "short", operators("max", "stoa_operator_brokers", 'condition="Stalled"'), alarm=1),
            stat(
                "Less secure brokers",
                "short",
                operators("max", "stoa_operator_brokers", 'condition="SecurityPostureLowered"'),
            ),
            stat("Failing passes", "ops", rate("stoa_operator_reconcile_errors_total", selector=OPERATOR), alarm=0.01),
        ),
        "Objects": (
            graph("Objects by kind", "short", {f"max by (kind) (stoa_operator_resources{OPERATOR})": "{{kind}}"}),
            graph(
                "Brokers by condition",
                "short",
                {f"max by (condition) (stoa_operator_brokers{OPERATOR})": "{{condition}}"},
            ),
            graph("Who leads", "short", {f"max by (pod) (stoa_operator_leader{OPERATOR})": "{{pod}}"}),
            graph(
                "Watched namespaces",
                "short",
                {f"max by (state) (stoa_operator_namespaces{OPERATOR})": "{{state}}"},
                "Forbidden: gone, or without our Role.",
            ),
        ),
        "Work": (
            graph(
                "Passes",
                "ops",
                {rate("stoa_operator_reconcile_total", "story, result", OPERATOR): "{{story}} {{result}}"},
            ),
            graph(
                "Failing passes",
                "ops",
                {rate("stoa_operator_reconcile_errors_total", "story, result", OPERATOR): "{{story}} {{result}}"},
            ),
            graph(
                "A pass takes",
                "s",
                {
                    within(0.5, _PASS, "story"): "{{story}}, half of them",
                    within(0.99, _PASS, "story"): "{{story}}, 99 %",
                },
            ),
        ),
        "Doors": (
            graph(
                "Requests to the API server",
                "ops",
                {rate("stoa_operator_api_calls_total", "verb, resource", OPERATOR): "{{verb}} {{resource}}"},
            ),
            graph(
                "From a change to the last node",
                "s",
                {within(0.5, _PROPAGATION): "half of them", within(0.99, _PROPAGATION): "99 %"},
                "From the write of a policy to the report of the last node that it decides by it.",
            ),
            graph("Policies applied", "ops", {rate(f"{_PROPAGATION}_count", selector=OPERATOR): "policies"}),
        ),
        "Process": (
            graph("CPU", "percentunit", {rate("process_cpu_seconds_total", "pod", OPERATOR): "{{pod}}"}),
            graph("Memory", "bytes", {f"sum by (pod) (process_resident_memory_bytes{OPERATOR})": "{{pod}}"}),
            graph("Runs for", "s", {f"time() - max by (pod) (process_start_time_seconds{OPERATOR})": "{{pod}}"}),
        ),
    },
)

BOARDS = (BROKER_BOARD, SECURITY_BOARD, OPERATOR_BOARD)


def render(board: Board) -> str:
    """The text of the file for this board."""
    document = {
        "uid": f"stoa-{board.name}",
        "title": board.title,
        "description": board.about,
        "tags": ["mqtt", "stoa"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_datasource(), *map(_variable, board.variables.items())]},
        "panels": _panels(board.rows),
    }
    return json.dumps(document, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    options = generated.arguments(__doc__).parse_args(arguments)
    return generated.settle(((FOLDER / f"{board.name}.json", render(board)) for board in BOARDS), check=options.check)


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(named: tuple[str, str]) -> Json:
    name, query = named
    many = name == "pod"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if many else {}),
    }


def _panels(rows: Mapping[str, Sequence[Panel]]) -> list[Json]:
    """Each row's panels from left to right, below its heading."""
    panels: list[Json] = []
    top = 0
    for title, row in rows.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": _at(top),
            }
        )
        top += 1
        stats = all(panel.kind == "stat" for panel in row)
        columns, height = (STATS_IN_A_ROW, STAT_HEIGHT) if stats else (GRAPHS_IN_A_ROW, GRAPH_HEIGHT)
        width = GRID_COLUMNS // columns
        for number, panel in enumerate(row):
            place = _at(top + number // columns * height, number % columns * width, width, height)
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
        top += -(-len(row) // columns) * height
    return panels


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, **_looks(panel)}, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(panel.queries.items())
        ],
    }


def _looks(panel: Panel) -> Json:
    if panel.kind == "stat":
        steps: list[Json] = [{"color": "green", "value": None}]
        if panel.alarm is not None:
            steps.append({"color": "red", "value": panel.alarm})
        return {"thresholds": {"mode": "absolute", "steps": steps}}
    return {"min": 0, "custom": {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}}


def _at(top: int, left: int = 0, width: int = GRID_COLUMNS, height: int = 1) -> Json:
    return {"x": left, "y": top, "w": width, "h": height}


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OPTIONS: Mapping[str, Json] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
}


if __name__ == "__main__":
    sys.exit(main())
