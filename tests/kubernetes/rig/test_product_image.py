"""The image of this tree: what is in it, what is not, and that a program runs in it."""

import stat
import subprocess
from pathlib import Path

import pytest

from support.kube import layers, product_image
from support.kube.product_image import Contents

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def contents() -> Contents:
    return product_image.contents()


@pytest.fixture(scope="module")
def parts(contents: Contents) -> list[Path]:
    if reason := product_image.missing():
        pytest.skip(reason)
    return product_image.product_layers(contents)


@pytest.fixture(scope="module")
def root(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All layers over each other."""
    folder = tmp_path_factory.mktemp("root")
    for part in parts:
        layers.unpack(part, folder)
    return folder


def _is_there(root: Path, path: str) -> bool:
    """Links are followed within the root."""
    found = root / path.lstrip("/")
    while found.is_symlink():
        target = found.readlink()
        found = root / str(target).lstrip("/") if target.is_absolute() else found.parent / target
    return found.exists()


def test_what_the_list_names_is_there_and_what_it_forbids_is_not(root: Path, contents: Contents) -> None:
    assert [path for path in contents.present if not _is_there(root, path)] == []
    assert [path for path in contents.absent if _is_there(root, path)] == []


def test_no_file_gives_anybody_more_rights(root: Path) -> None:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)] == []


def test_it_stays_below_its_bound(parts: list[Path], contents: Contents) -> None:
    assert sum(layers.compressed_bytes(part) for part in parts) < contents.bytes_compressed_max


@pytest.mark.parametrize(
    "command",
    [
        ["/opt/stoa/bin/python", "-m", "mqtt_broker", "--help"],
        ["/opt/stoa/bin/python", "-m", "mqtt_operator", "--help"],
        ["/opt/stoa/bin/stoa", "--help"],
    ],
)
def test_its_programs_run_in_it(command: list[str], root: Path) -> None:
    done = subprocess.run(["chroot", str(root), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_all_that_python_reads_is_compiled(root: Path) -> None:
    """Nobody can write there later."""
    modules = [path for path in (root / "opt/stoa/lib").rglob("*.py") if "tests" not in path.parts]
    missing = [path for path in modules if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert missing == []
