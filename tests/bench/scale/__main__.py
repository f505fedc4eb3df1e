"""What a cluster bears: each measurement by name, its figures printed beside what was to be reached."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.conditions import machine
from bench.limits import raise_open_files
from bench.nodes import use_all_cores
from bench.scale import offline, operator, permission, storm
from bench.scale.table import Figure, plain
from bench.world import World

Measure = Callable[[Path, World, int], list[Figure]]

MEASUREMENTS: Mapping[str, tuple[str, Measure, int]] = {
    "operator": (operator.TITLE, operator.run, 10_000),
    "offline": (offline.TITLE, offline.run, 100_000),
    "permission": (permission.TITLE, permission.run, 10_000),
    "storm": (storm.TITLE, storm.run, 2_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack/bench scale", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[[], *MEASUREMENTS], help="default: all of them")
    parser.add_argument("--count", type=int, help="so many sessions or clients; default: as each measurement has it")
    arguments = parser.parse_args()
    raise_open_files()
    use_all_cores()
    for name in arguments.name or MEASUREMENTS:
        title, measure, default = MEASUREMENTS[name]
        count = arguments.count or default
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            figures = measure(Path(folder), World(Path(folder)), count)
        print(plain(f"{title.format(count=count)}  [{name}]", figures), flush=True)
    print(f"- {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
