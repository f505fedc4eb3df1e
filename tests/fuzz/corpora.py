"""The inputs that each target starts from: small files in the tree, grown by what was found.

A file that ends in `.hex` holds bytes as hexadecimal text with comments after '#'; any other is the input.
"""

import hashlib
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).with_name("corpus")
INPUT_BYTES_MAX = 1024
TARGETS = ("codec", "topics", "connection", "policy_document", "resources")


def target(name: str) -> ModuleType:
    """The target's module; its `run(data)` raises for whatever is wrong."""
    return import_module(f"fuzz.targets.fuzz_{name}")


def read(path: Path) -> bytes:
    """The input in a file. Raises ValueError for hexadecimal text that is none."""
    if path.suffix != ".hex":
        return path.read_bytes()
    lines = path.read_text(encoding="ascii").splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))


def files(name: str) -> list[Path]:
    return sorted(path for path in (FOLDER / name).iterdir() if path.is_file())


def inputs(name: str) -> list[bytes]:
    return [read(path) for path in files(name)]


def keep(name: str, data: bytes, why: str) -> Path:
    """Write an input that was found into the corpus; one that is there already is kept once."""
    path = FOLDER / name / f"found-{hashlib.sha256(data).hexdigest()[:12]}.hex"
    lines = [f"# {why}", *(data[start : start + 32].hex(" ") for start in range(0, len(data), 32))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii", errors="replace")
    return path
