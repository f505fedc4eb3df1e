"""The product's image and the one of a small Redis, for machines that reach no registry.

The twin of the Dockerfile: both follow image/contents.yaml. Three layers: files of Debian packages, the locked wheels,
and our own wheel, so that a changed source line costs seconds. Built from packages and wheels alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.kube import debian, images, layers, wheels
from support.kube.components import ROOT
from support.kube.problems import ClusterError

CONTENTS = ROOT / "image" / "contents.yaml"
TAG = "localhost/stoa/stoa:dev"
REDIS_TAG = "localhost/stoa/redis:7"

_REDIS_PACKAGES = (
    "base-files",
    "libatomic1",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblz4-1",
    "liblzf1",
    "liblzma5",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
    "redis-server",
    "redis-tools",
)


@dataclass(frozen=True)
class Contents:
    """What image/contents.yaml says."""

    packages: Sequence[str]
    python: str
    home: str
    start: images.Start
    present: Sequence[str]
    absent: Sequence[str]
    bytes_compressed_max: int


def contents() -> Contents:
    document: Mapping[str, Any] = yaml.safe_load(CONTENTS.read_text(encoding="utf-8"))
    start = images.Start(document["entrypoint"], document["user"], document["env"], document["workdir"])
    return Contents(
        packages=document["packages"],
        python=document["python"],
        home=document["home"],
        start=start,
        present=document["present"],
        absent=document["absent"],
        bytes_compressed_max=document["bytes_compressed_max"],
    )


def missing() -> str | None:
    """Why the images cannot be made here; None if they can."""
    return debian.missing() or wheels.missing()


def product(tag: str = TAG, tree: Path = ROOT) -> Path:
    """The archive of the product's image, made now if anything in it has changed. Raises ClusterError."""
    wanted = contents()
    return _archive(tag, wanted.start, product_layers(wanted, tree))


def product_layers(wanted: Contents, tree: Path = ROOT) -> list[Path]:
    """The tars of its layers, the lowest first. `tree`: our own sources. Raises ClusterError."""
    if reason := missing():
        raise ClusterError(reason)
    system = _system("system", wanted.packages)
    locked = wheels.locked_requirements()
    dependencies = _layer(
        "wheels",
        [system.name, locked, str(wanted)],
        lambda folder: _install(wanted, folder, system, lambda target: wheels.install_locked(locked, target)),
    )
    own = _layer(
        "own",
        [system.name, wheels.digest_of_own(tree), str(wanted)],
        lambda folder: _install(wanted, folder, system, lambda target: wheels.install_own(target, tree)),
    )
    return [system, dependencies, own]


def compressed_bytes() -> int:
    """What a registry would send of the product's image."""
    return sum(layers.compressed_bytes(part) for part in product_layers(contents()))


def redis(tag: str = REDIS_TAG) -> Path:
    """The archive of an image with Redis in it, as the managed store wants it. Raises ClusterError."""
    user = f"{debian.NOBODY_ID}:{debian.NOBODY_ID}"
    start = images.Start(["/usr/bin/redis-server"], user, {"PATH": "/usr/bin"}, "/tmp")
    return of_packages(tag, "redis", _REDIS_PACKAGES, start)


def of_packages(tag: str, name: str, packages: Sequence[str], start: images.Start) -> Path:
    """The archive of an image that is these packages and nothing else. Raises ClusterError."""
    if reason := debian.missing():
        raise ClusterError(reason)
    return _archive(tag, start, [_system(name, packages)])


def _system(name: str, packages: Sequence[str]) -> Path:
    """A root of these packages, with what Python comes with compiled."""

    def fill(folder: Path) -> None:
        debian.unpack(packages, folder, folder.parent / "packages")
        library = folder / "usr/lib/python3.11"
        if library.is_dir():
            _compile(folder, "/usr/bin/python3.11", "/usr/lib/python3.11")

    code = Path(debian.__file__).read_text(encoding="utf-8")
    return _layer(name, [*debian.versions(packages), code], fill)


def _install(wanted: Contents, folder: Path, system: Path, install: Callable[[Path], None]) -> None:
    """One part of the virtual environment, compiled by the Python that will run it."""
    home = folder / wanted.home.strip("/")
    wheels.make_home(home, wanted.python)
    install(home)
    root = folder.parent / "root"
    root.mkdir()
    layers.unpack(system, root)
    inside = root / wanted.home.strip("/")
    inside.parent.mkdir(parents=True, exist_ok=True)
    home.rename(inside)
    _compile(root, wanted.python, wanted.home)
    home.parent.mkdir(parents=True, exist_ok=True)
    inside.rename(home)


def _compile(root: Path, python: str, folder: str) -> None:
    """Checked by nobody at run time, so that the file's times do not matter."""
    command = ["chroot", str(root), python, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{folder} of the image cannot be compiled: {(done.stdout + done.stderr).strip()[-2_000:]}")


def _layer(name: str, made_from: Sequence[str], fill: Callable[[Path], None]) -> Path:
    def fill_and_say(folder: Path) -> None:
        started = time.monotonic()
        print(f"Making the layer '{name}' ...", file=sys.stderr, flush=True)
        fill(folder)
        print(f"    done: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)

    return layers.layer(name, made_from, fill_and_say)


def _archive(tag: str, start: images.Start, parts: Sequence[Path]) -> Path:
    path = layers.cache() / f"{tag.rpartition('/')[2].replace(':', '-')}.archive"
    half_done = path.with_suffix(f".{os.getpid()}")
    images.write_layers(tag, start, parts, half_done)
    return half_done.replace(path)
