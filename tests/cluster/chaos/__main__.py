"""hack/chaos: a cluster of real processes under load and faults, round after round, judged from outside."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from cluster.chaos.faults.catalogue import KINDS, possible
from cluster.chaos.population import Size, chaos_policy
from cluster.chaos.record import Record
from cluster.chaos.report import Report, examine, render, total
from cluster.chaos.round import Plan, Round
from cluster.chaos.stores import OneRedis, OwnFile, Place, WatchedRedis
from cluster.chaos.terms import Terms
from cluster.chaos.world import World

ROUND_S = 60.0
INTERRUPTED = 128 + signal.SIGTERM
DURABILITIES = ("Memory", "Disk", "Replicated", "SQLite")


def main() -> int:
    """0: no violation, and every judge saw the bug planted for it."""
    arguments = _parser().parse_args()
    if arguments.list:
        print("\n".join(KINDS))
        return 0
    try:
        report = asyncio.run(_run(arguments))
    except asyncio.CancelledError:
        return INTERRUPTED
    print(render(report))
    print(f"again: hack/chaos {' '.join(sys.argv[1:])}" if "--seed" in sys.argv else f"seed: {arguments.seed}")
    return 0 if report.is_clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed strikes the same way again")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults go on, in rounds of a minute")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--durability", choices=DURABILITIES, default="Disk", help="SQLite: one node of its own")
    parser.add_argument("--faults", default="", help="kinds of faults, by comma; default: all that are possible")
    parser.add_argument("--round", type=int, default=None, help="only this round of the run")
    parser.add_argument("--rate", type=float, default=Size().messages_per_s, help="messages a second into streams")
    parser.add_argument("--patience", type=float, default=1.0, help="stretches the recovery times on a slow machine")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for data, logs and records, which stays")
    parser.add_argument("--list", action="store_true", help="name the kinds of faults")
    return parser


async def _run(arguments: argparse.Namespace) -> Report:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started ends with us
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = arguments.keep or Path(temporary)
        names = tuple(f"node-{number}" for number in range(1 if arguments.durability == "SQLite" else arguments.nodes))
        place = _place(folder, arguments.durability, names)
        world = World(folder, place, names)
        try:
            await asyncio.to_thread(world.start, chaos_policy())
            return await _rounds(world, arguments)
        finally:
            await asyncio.to_thread(world.stop)


def _place(folder: Path, durability: str, names: tuple[str, ...]) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    if durability == "SQLite":
        return OwnFile(folder)
    if durability == "Replicated":
        return WatchedRedis(folder, durability)
    return OneRedis(folder, durability, names, wants=frozenset({"clock", "tmpfs"} if durability == "Disk" else ()))


async def _rounds(world: World, arguments: argparse.Namespace) -> Report:
    kinds = tuple(arguments.faults.split(",")) if arguments.faults else possible(world.place.has)
    if arguments.durability == "Memory" and not arguments.faults:
        kinds = tuple(kind for kind in kinds if kind != "store-kill")  # which loses everything there, as promised
    missing = [kind for kind in kinds if kind not in possible(world.place.has)]
    if missing:
        raise SystemExit(f"not possible here: {', '.join(missing)}; possible: {', '.join(possible(world.place.has))}")
    skipped = sorted(set(KINDS) - set(kinds))
    print(f"seed {arguments.seed}; faults: {', '.join(kinds)}; left out: {', '.join(skipped) or 'none'}", flush=True)
    terms = Terms(patience=arguments.patience)
    reports: list[Report] = []
    count = max(1, round(arguments.minutes * 60 / ROUND_S))
    for number in range(count) if arguments.round is None else [arguments.round]:
        seconds = min(ROUND_S, arguments.minutes * 60)
        plan = Plan(
            seed=f"{arguments.seed} {number}",
            prefix=f"r{number}",
            seconds=seconds,
            kinds=kinds,
            size=Size(messages_per_s=arguments.rate),
            terms=terms,
        )
        record = await Round(world, plan, _say).run()
        if arguments.keep:
            _keep(record, arguments.keep / f"round-{number}.jsonl")
        proven = total(reports).caught
        report = await asyncio.to_thread(examine, record, terms, proven)
        reports.append(report)
        print(
            f"round {number}: {report.acknowledged} acknowledged, {report.received} received, "
            f"{len(report.violations)} violations",
            flush=True,
        )
    return total(reports)


def _keep(record: Record, file: Path) -> None:
    """What was seen, an event a line, for whoever wants to know how a violation came about."""
    encode = msgspec.json.Encoder().encode
    file.write_bytes(b"".join(encode(event) + b"\n" for event in record))


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
