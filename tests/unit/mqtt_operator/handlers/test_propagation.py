"""How long a policy takes to reach the last node."""

from mqtt_operator.handlers.propagation import Propagation
from mqtt_operator.reconcile.exchange import Exchange, PolicyReport
from mqtt_operator.reconcile.keys import BrokerKey

PLANT = BrokerKey("mqtt", "plant")


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.exchange = Exchange()
        self.measured: list[float] = []
        self.stop = Propagation(self.exchange, PLANT, self.measured.append, clock=lambda: self.now).start()

    def report(self, now: float, revision: int, current: int, total: int = 3) -> None:
        self.now = now
        report = PolicyReport(revision=revision, nodes_current=current, nodes_total=total)
        self.exchange.tell_report(PLANT, report)


def test_it_is_the_time_from_the_write_to_the_report_of_the_last_node() -> None:
    world = World()
    world.report(0.0, 1, 3)
    world.report(10.0, 2, 0)
    world.report(10.2, 2, 2)
    world.report(10.5, 2, 3)
    world.report(11.0, 2, 2)  # one is being restarted
    world.report(12.0, 2, 3)
    assert world.measured == [0.5]


def test_what_was_in_force_before_is_not_measured() -> None:
    world = World()
    world.report(5.0, 7, 1)
    world.report(9.0, 7, 3)
    assert world.measured == []


def test_a_revision_that_is_overtaken_is_measured_as_the_one_that_arrives() -> None:
    world = World()
    world.report(0.0, 1, 3)
    world.report(10.0, 2, 0)
    world.report(10.1, 3, 0)
    world.report(10.5, 3, 3)
    assert [round(seconds, 3) for seconds in world.measured] == [0.4]


def test_a_broker_without_nodes_has_nowhere_to_arrive() -> None:
    world = World()
    world.report(0.0, 1, 0, total=0)
    world.report(1.0, 2, 0, total=0)
    assert world.measured == []


def test_who_stopped_measures_nothing() -> None:
    world = World()
    world.report(0.0, 1, 3)
    world.stop()
    world.report(1.0, 2, 3)
    assert world.measured == []
