"""kubectl as a person has it: the one of this Kubernetes, logged in as an administrator."""

import json
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.kube.place import Place
from support.kube.problems import ClusterError

ANSWER_S_MAX = 120.0


def write_front(place: Place, program: Path) -> None:
    """A command `kubectl` in the cluster's folder, that needs no arguments to find the cluster."""
    command = shlex.join([str(program), f"--kubeconfig={place.kubeconfig}"])
    text = f'#!/bin/sh\nexec {command} "$@"\n'
    place.file("kubectl", text, mode=0o700)


def call(place: Place, *arguments: str | Path, stdin: str = "") -> str:
    """What kubectl prints. Raises ClusterError with its words when it fails."""
    done = subprocess.run(
        [str(place.kubectl), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=ANSWER_S_MAX,
    )
    if done.returncode:
        raise ClusterError(f"kubectl {' '.join(map(str, arguments))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def apply(place: Place, documents: Iterable[Mapping[str, Any]]) -> None:
    """Server-side apply of these objects."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    call(place, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(items))


def apply_files(place: Place, paths: Sequence[Path]) -> None:
    """Server-side apply, for these are too long for the annotation that the client's own apply leaves."""
    options = [f"--filename={path}" for path in paths]
    call(place, "apply", "--server-side", "--force-conflicts", *options)
