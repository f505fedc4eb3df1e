"""Run targets for a while: with coverage where atheris is installed, by blind mutation elsewhere.

Knows time, corpora and how a finding is kept; does not know what a target checks. Exit code 1 = something was found.
"""

import argparse
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz import corpora
from fuzz.mutate import mutations

MINUTES = 2.0
BROKER = "broker"  # the state machine: its inputs are programs, kept by hypothesis and not in the corpus
BROKER_EXAMPLES_PER_ROUND = 200
BROKER_STEPS = 50


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if options.atheris_target:
        _under_atheris(options.atheris_target, options.rest)
        return 0
    names = options.targets or [*corpora.TARGETS, BROKER]
    seconds = options.minutes * 60 / len(names)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    failed = [name for name in names if not _run(name, seconds, seed, blind=options.blind)]
    return 1 if failed else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hack/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join((*corpora.TARGETS, BROKER))}")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"for all targets together, {MINUTES:g} unless told"
    )
    parser.add_argument("--seed", type=int, help="of the mutations; random unless told")
    parser.add_argument("--blind", action="store_true", help="without coverage even where atheris is installed")
    parser.add_argument("--atheris-target", help=argparse.SUPPRESS)
    parser.add_argument("--rest", nargs=argparse.REMAINDER, default=[], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - {*corpora.TARGETS, BROKER}
    if unknown:
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    return options


def _run(name: str, seconds: float, seed: int, *, blind: bool) -> bool:
    if name == BROKER:
        return _broker(seconds)
    if blind or find_spec("atheris") is None:
        return _blind(name, seconds, seed)
    return _with_coverage(name, seconds, seed)


# By blind mutation ---------------------------------------------------------------------------------------------------


def _blind(name: str, seconds: float, seed: int) -> bool:
    inputs, run = corpora.inputs(name), corpora.target(name).run
    until, executions = time.monotonic() + seconds, 0
    for data in mutations(inputs, seed):
        if time.monotonic() >= until:
            break
        executions += 1
        try:
            run(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            _found(name, data, traceback.format_exc())
            return False
    print(
        f"{name}: {executions} executions in {seconds:.0f} s without coverage, seed {seed}, nothing found", flush=True
    )
    return True


def _found(name: str, data: bytes, trace: str) -> None:
    path = corpora.keep(name, data, trace.strip().splitlines()[-1][:100])
    print(f"{name}: FOUND, kept as {path}\n{trace}", flush=True)


# With coverage -------------------------------------------------------------------------------------------------------


def _with_coverage(name: str, seconds: float, seed: int) -> bool:
    """In a process of its own, for atheris never returns and stops at the first finding."""
    with tempfile.TemporaryDirectory() as scratch:
        seeds = Path(scratch) / "seeds"
        grown = Path(scratch) / "grown"
        seeds.mkdir()
        grown.mkdir()
        for number, data in enumerate(corpora.inputs(name)):
            (seeds / f"{number:04}").write_bytes(data)
        command = [sys.executable, "-m", "fuzz.run", "--atheris-target", name, "--rest"]
        limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={corpora.INPUT_BYTES_MAX}"]
        places = [f"-seed={seed or 1}", f"-artifact_prefix={scratch}/", "-print_final_stats=1", str(grown), str(seeds)]
        done = subprocess.run([*command, *limits, *places], capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            if "number_of_executed_units" in line:
                print(
                    f"{name}: {line.split()[-1]} executions in {seconds:.0f} s with coverage, seed {seed}", flush=True
                )
        found = [path for kind in ("crash", "timeout", "oom") for path in Path(scratch).glob(f"{kind}-*")]
        for path in found:
            _found(name, path.read_bytes(), done.stdout + done.stderr[-4000:])
        if done.returncode and not found:
            print(f"{name}: atheris failed\n{done.stdout}{done.stderr[-4000:]}", flush=True)
        return done.returncode == 0


def _under_atheris(name: str, arguments: list[str]) -> None:
    atheris = import_module("atheris")  # only where it is installed

    with atheris.instrument_imports(include=["mqtt_api", "mqtt_broker"]):
        run = corpora.target(name).run
    atheris.Setup([name, *arguments], run)
    atheris.Fuzz()


# The state machine ---------------------------------------------------------------------------------------------------


def _broker(seconds: float) -> bool:
    from fuzz.broker_machine import BrokerMachine  # imports the whole node

    rounds = settings(
        max_examples=BROKER_EXAMPLES_PER_ROUND,
        stateful_step_count=BROKER_STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    until, examples = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        try:
            run_state_machine_as_test(BrokerMachine, settings=rounds)
        except Exception:  # noqa: BLE001 - the program that fails is printed by hypothesis with it
            print(f"{BROKER}: FOUND after {examples} programs\n{traceback.format_exc()}", flush=True)
            return False
        examples += BROKER_EXAMPLES_PER_ROUND
    print(f"{BROKER}: {examples} programs of up to {BROKER_STEPS} steps in {seconds:.0f} s, nothing found", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
