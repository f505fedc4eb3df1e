"""What the operator counts, under the names that boards and alerts use.

Knows the metrics; does not know who serves them. Labels come from closed sets: never a name of an object.
"""

from collections import Counter as TotalOf
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mqtt_operator.kube.port import Call
from mqtt_operator.reconcile.loop import PassResult

PASS_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PROPAGATION_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0)


class OperatorMetrics:
    """`registry` is what to serve. One for each process, or each test."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._passes = Counter(
            "stoa_operator_reconcile",
            "Passes, by story and how they ended.",
            ["story", "result"],
            registry=self.registry,
        )
        self._errors = Counter(
            "stoa_operator_reconcile_errors",
            "Passes that did not get through: expected = somebody has something to mend, bug = we have.",
            ["story", "result"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "stoa_operator_reconcile_duration_seconds",
            "How long a pass took.",
            ["story"],
            buckets=PASS_SECONDS,
            registry=self.registry,
        )
        self._propagation = Histogram(
            "stoa_operator_policy_propagation_seconds",
            "From the write of a policy to the report of the last node that it decides by it.",
            buckets=PROPAGATION_SECONDS,
            registry=self.registry,
        )
        self._calls = _Calls()
        self.registry.register(self._calls)
        self.leader = Gauge("stoa_operator_leader", "1: this instance leads.", registry=self.registry)

    def passed(self, story: str, result: str, seconds: float) -> None:
        """A pass ended."""
        self._passes.labels(story, result).inc()
        self._seconds.labels(story).observe(seconds)
        if result != PassResult.DONE:
            self._errors.labels(story, result).inc()

    def policy_propagated(self, seconds: float) -> None:
        """Every node decides by a policy that was written this long ago."""
        self._propagation.observe(seconds)

    def count_resources(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Ask `counts` at each scrape how many objects of each kind there are."""
        self.registry.register(_Levels("stoa_operator_resources", "Objects that the operator serves.", "kind", counts))

    def count_namespaces(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Ask `counts` at each scrape how many of the watched namespaces are in each state."""
        text = "Namespaces that are watched: served, or forbidden, as one is that is gone."
        self.registry.register(_Levels("stoa_operator_namespaces", text, "state", counts))

    def count_calls(self, counts: Callable[[], Mapping[Call, int]]) -> None:
        """Ask `counts` too, at each scrape, how often the API server was asked for what."""
        self._calls.sources.append(counts)


class _Calls(Collector):
    def __init__(self) -> None:
        self.sources: list[Callable[[], Mapping[Call, int]]] = []

    def collect(self) -> list[Metric]:
        family = CounterMetricFamily(
            "stoa_operator_api_calls", "Requests to the API server, in the words of roles.", labels=["verb", "resource"]
        )
        total: TotalOf[Call] = TotalOf()
        for counts in self.sources:
            total.update(counts())
        for call, count in total.items():
            family.add_metric([call.verb, call.resource_name], count)
        return [family]


class _Levels(Collector):
    """One gauge, a level for each value of its one label: asked for at each scrape."""

    def __init__(self, name: str, text: str, label: str, counts: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._counts = counts

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in self._counts().items():
            family.add_metric([value], count)
        return [family]
