"""Figures of a cluster's scale: what is printed, and what a client that asks over and over has noted."""

from bench.figures import Result, Summary
from bench.peers import catalogue as peers
from bench.report import Section, markdown, rows
from bench.scale import table
from bench.scale.probe import Waits
from bench.workloads import catalogue as workloads

FIGURES = [table.Figure("time", "3 s", "<= 5 s"), table.Figure("memory", "1 MiB")]


def test_every_figure_stands_beside_what_was_to_be_reached() -> None:
    assert table.plain("title", FIGURES).splitlines() == ["title", "  time    3 s    <= 5 s", "  memory  1 MiB"]
    assert "| time | 3 s | <= 5 s |" in table.markdown("title", FIGURES)


def test_waits_tell_the_worst_and_the_usual() -> None:
    waits = Waits([0.001] * 98 + [0.002, 0.5])
    assert str(waits) == "worst 500.0 ms, p99 2.0, p50 1.00"


def test_what_the_store_cost_stands_apart_and_only_where_it_was_measured() -> None:
    shared = Result(count=1_000, seconds=1.0, cpu_s=0.01, store_cpu_s=0.002)
    alone = Result(count=1_000, seconds=1.0, cpu_s=0.01)
    section = Section("w", "t", {"shared": Summary((shared,)), "alone": Summary((alone,))})
    assert [row[5] for row in rows(section)] == ["2.00", ""]
    assert "store µs each" in markdown([section], [])
    assert "store µs each" not in markdown([Section("w", "t", {"alone": Summary((alone,))})], [])


def test_workloads_of_a_cluster_are_not_run_by_single_brokers_unless_named() -> None:
    assert not {workload.name for workload in workloads.CLUSTER} & {workload.name for workload in workloads.ALONE}
    assert not {peer.name for peer in peers.CLUSTERS} & {peer.name for peer in peers.ALL}
    assert {peer.name for peer in peers.CLUSTERS} <= peers.BY_NAME.keys()
