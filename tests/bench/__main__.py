"""The command line of the benchmark; hack/bench prepares the environment and calls it."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from bench import plot, report
from bench.conditions import describe
from bench.limits import raise_open_files
from bench.peers import catalogue as peers
from bench.peers.base import Peer, PeerError
from bench.peers.external import External
from bench.runner import Runner
from bench.workloads import catalogue as workloads
from bench.workloads.base import Budget

QUICK = Budget(warm_s=0.4, measure_s=1.5, sparse_s=2.5, connections=1_000)
ROUNDS, QUICK_ROUNDS = 5, 1
VERSIONS = {"3.1.1": 4, "5": 5}
EXIT_USAGE = 2


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.list:
        print(_catalogue())
        return 0
    try:
        return _measure(arguments)
    except PeerError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return EXIT_USAGE


def _measure(arguments: argparse.Namespace) -> int:
    unknown = [name for name in arguments.workload if name not in workloads.BY_NAME]
    if unknown:
        raise PeerError(f"no workload is called {', '.join(unknown)}; --list shows them all")
    everything = workloads.CLUSTER if arguments.cluster else workloads.ALONE
    chosen = [workloads.BY_NAME[name] for name in arguments.workload] or list(everything)
    contestants = _contestants(arguments)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    budget = _budget(arguments)
    runner = Runner(contestants, budget, rounds, lambda line: print(line, file=sys.stderr, flush=True))
    conditions = describe(contestants, budget, rounds, runner.cores)
    sections = runner.run(chosen)
    print(report.plain(sections, conditions))
    _write(arguments.markdown, report.markdown(sections, conditions))
    if arguments.json:
        _write(arguments.json, json.dumps(report.document(sections, conditions), indent=1) + "\n")
    if arguments.plots:
        for section in sections:
            drawn = plot.chart(section, conditions)
            if drawn is not None:
                _write(arguments.plots / f"{section.name}.svg", drawn)
    return 0


def _budget(arguments: argparse.Namespace) -> Budget:
    """Connections are bounded by the open files this process may have; the brokers inherit the same bound."""
    budget = replace(QUICK if arguments.quick else Budget(), version=VERSIONS[arguments.mqtt])
    if arguments.seconds:
        budget = replace(budget, measure_s=arguments.seconds, sparse_s=arguments.seconds)
    connections = arguments.connections or budget.connections
    return replace(budget, connections=min(connections, raise_open_files()))


def _contestants(arguments: argparse.Namespace) -> list[Peer]:
    """Those that were asked for; else all that are installed, and those installed just now."""
    for name in arguments.install:
        print(f"installing {name} ...", file=sys.stderr, flush=True)
        _peer(name).install()
    others: list[Peer] = [External(text) for text in arguments.peer]
    if arguments.peers:
        named = [_peer(name) for name in arguments.peers.split(",")]
        missing = [peer.name for peer in named if not peer.installed()]
        if missing:
            raise PeerError(f"not installed: {', '.join(missing)}; add " + " ".join(f"--install {m}" for m in missing))
        return named + others
    return [peer for peer in (peers.CLUSTERS if arguments.cluster else peers.ALL) if peer.installed()] + others


def _peer(name: str) -> Peer:
    if name not in peers.BY_NAME:
        raise PeerError(f"no peer is called {name!r}; there are {', '.join(peers.BY_NAME)}")
    return peers.BY_NAME[name]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def _catalogue() -> str:
    lines = ["workloads:", *(f"  {w.name:20} {w.title}" for w in workloads.BY_NAME.values()), "peers:"]
    every = peers.BY_NAME.values()
    lines += [f"  {p.name:20} {'installed' if p.installed() else f'--install {p.name}'}" for p in every]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/bench", description="This broker and its peers, in turns, in one run.")
    parser.add_argument("workload", nargs="*", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="show workloads and peers")
    parser.add_argument("--quick", action="store_true", help="one short round, 1,000 connections: a look, no figures")
    parser.add_argument(
        "--cluster", action="store_true", help="what crosses nodes: several of this broker on one Redis"
    )
    parser.add_argument("--rounds", type=_positive, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--seconds", type=float, help="length of each measurement")
    parser.add_argument("--connections", type=_positive, help=f"idle ones; default {Budget.connections:,}")
    parser.add_argument("--mqtt", choices=VERSIONS, default="3.1.1", help="default 3.1.1")
    parser.add_argument("--peers", help="comma-separated, the first is the reference; default: all that are installed")
    parser.add_argument("--install", action="append", default=[], metavar="NAME", help="build a peer into the cache")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=HOST:PORT,PID", help="one that runs already"
    )
    parser.add_argument("--markdown", type=Path, default=Path(".stoa/bench/table.md"), help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every single result")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="one SVG a workload")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
