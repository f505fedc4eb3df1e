"""The folder of one cluster: where its files are, and what is written down about it.

Knows paths and the record; starts and ends nothing. The record is written before the first process starts, so that a
cluster can be taken down whatever happened to the one who put it up.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from support.kube.components import ROOT
from support.kube.problems import ClusterError

NAME_CHARACTERS_MAX = 40


class Tier(StrEnum):
    """FAST: the API server and the controllers it cannot do without. FULL: also a node that runs pods."""

    FAST = "fast"
    FULL = "full"


class Backend(StrEnum):
    LOCAL = "local"
    KIND = "kind"


@dataclass(frozen=True)
class Record:
    """What a cluster was asked to be."""

    backend: Backend
    tier: Tier


def clusters_folder() -> Path:
    return Path(os.environ.get("STOA_CLUSTERS") or ROOT / ".stoa" / "clusters")


@dataclass(frozen=True)
class Place:
    """The folder of the cluster with this name."""

    root: Path

    @classmethod
    def named(cls, name: str) -> Self:
        if not re.fullmatch(rf"[a-z]([a-z0-9-]{{0,{NAME_CHARACTERS_MAX - 2}}}[a-z0-9])?", name):
            raise ClusterError(f"'{name}' cannot be a name: lower-case letters, digits and '-', at most 40")
        return cls(clusters_folder().resolve() / name)

    @classmethod
    def all(cls) -> list[Self]:
        """Every cluster that is up, half up or half down."""
        folder = clusters_folder().resolve()
        return [cls(path.parent) for path in sorted(folder.glob("*/cluster.json"))]

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def machine_name(self) -> str:
        """Unique on this machine: two trees may each have a cluster of one name."""
        return f"stoa-{self.name}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """kubectl of the same version, for this cluster whatever else is configured."""
        return self.root / "kubectl"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file of the cluster with this text."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def record(self) -> Record | None:
        """What is written down; None if there is no such cluster."""
        try:
            entries = json.loads((self.root / "cluster.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Record(Backend(entries["backend"]), Tier(entries["tier"]))

    def write_record(self, record: Record) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        self.file("cluster.json", json.dumps({"backend": record.backend, "tier": record.tier}))

    def remove(self) -> None:
        """Take everything away, the record last."""
        if not self.root.is_dir():
            return
        for path in self.root.iterdir():
            if path.name == "cluster.json":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        shutil.rmtree(self.root)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a cluster. With the cluster its lock is gone, too."""
        path = self.root.with_suffix(".lock")
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            try:
                yield
            finally:
                if not self.root.exists():
                    path.unlink()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Who held it before may have taken the file away: then this is another one's, and the next one is asked for."""
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_current = path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                is_current = False
            if is_current:
                yield
                return
