"""Trees of other releases, made of this one: with what may differ between two of them, so that both really differ.

Knows our sources, and which words stand for what releases tell and write; does not know images. A change whose place is
not there any more is an error: it must be looked for anew.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from support.kube import wheels
from support.kube.components import ROOT
from support.kube.problems import ClusterError


class Change(NamedTuple):
    """In this file, `old` stands once, and `new` instead of it in the other release."""

    file: str
    old: str
    new: str


_SETTINGS = "crds/mqtt_api/node_settings.py"
_CLUSTER = "broker/mqtt_broker/node/peers/cluster.py"
_STREAMS = "broker/mqtt_broker/store/redis/streams.py"


def _version(number: str) -> Change:
    return Change("pyproject.toml", '\nversion = "0.1.0"', f'\nversion = "{number}"')


EARLIER = (
    _version("0.0.9"),
    # It reads an older form of what nodes send each other, and is stopped by any newer one.
    Change("broker/mqtt_broker/store/cluster.py", "\nFORMAT = TELLS_MORE\n", "\nFORMAT = TELLS_MORE - 1\n"),
    Change(_STREAMS, 'elif kind == b"r":', 'elif kind == b"never written":'),
    Change(_STREAMS, 'elif kind == b"v":', 'elif kind == b"never written either":'),
    # Its leases have a word that this release does not know; it refuses a word of our settings; its scripts are others.
    Change(
        "crds/mqtt_api/node_facts.py", "    applied: int = 0\n", '    applied: int = 0\n    former_fact: str = ""\n'
    ),
    Change(_CLUSTER, "            format=FORMAT,\n", '            format=FORMAT,\n            former_fact="0.0.9",\n'),
    Change(_SETTINGS, '    log_level: str = "info"\n', '    log_level: ClassVar[str] = "info"\n'),
    Change(
        _SETTINGS, "\nfrom msgspec import Struct\n", "\nfrom typing import ClassVar\n\nfrom msgspec import Struct\n"
    ),
    Change("broker/mqtt_broker/store/redis/scripts/names.lua", "-- Names of keys", "-- As of 0.0.9: names of keys"),
)
"""Neighbours work together."""

FOREIGN = (
    _version("9.0.0"),
    Change("broker/mqtt_broker/store/schema.py", "\nSCHEMA_VERSION = 1\n", "\nSCHEMA_VERSION = 9\n"),
    Change("broker/mqtt_broker/store/redis/scripts/join.lua", "\nlocal FORM = 1 ", "\nlocal FORM = 9 "),
)
"""It lays out stores in another way, and reads no other."""


@contextlib.contextmanager
def tree(changes: Sequence[Change]) -> Iterator[Path]:
    """Our sources, changed. Raises ClusterError if one of the changes has no place in them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        for file in wheels.own_files():
            copy = root / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        for change in changes:
            _make(root, change)
        yield root


def _make(root: Path, change: Change) -> None:
    path = root / change.file
    text = path.read_text(encoding="utf-8")
    if text.count(change.old) != 1:
        raise ClusterError(f"{change.file} should have once what another release has otherwise: {change.old!r}")
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")
