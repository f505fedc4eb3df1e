"""The README's command lines, run as they stand there: only port, data folder and the place of `stoa` are changed."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator

import pytest

from support.processes import ROOT, Program, environment, free_port
from support.tools import require
from support.up import Up
from support.waiting import wait_until

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
WATCH, ALLOWED, FORBIDDEN, UNREADABLE, CAN_I, *OTHERS = COMMANDS


class Place:
    """A running quickstart, and the README's lines pointed at it."""

    def __init__(self, up: Up, port: int) -> None:
        self.up = up
        self._changes = {
            "8883": str(port),
            ".stoa/plant": str(up.data),
            "manifests/samples/quickstart": str(up.folder),
            ".venv/bin/stoa": f"{shlex.quote(sys.executable)} -m mqtt_operator.cli.main",
        }

    def run(self, line: str) -> Program:
        for old, new in self._changes.items():
            line = line.replace(old, new)
        return Program(["sh", "-c", f"exec {line}"], environment(), cwd=ROOT)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("readme")
    port = free_port()
    copy = folder / "quickstart"
    shutil.copytree(ROOT / "manifests" / "samples" / "quickstart", copy)
    broker_file = copy / "broker.yaml"
    broker_file.write_text(broker_file.read_text(encoding="utf-8").replace("port: 8883", f"port: {port}"))
    with Up(copy, folder / "data") as up:
        yield Place(up, port)


def test_the_block_list_is_the_one_tested_here() -> None:
    assert WATCH.startswith("mosquitto_sub")
    assert ALLOWED.startswith("mosquitto_pub")
    assert FORBIDDEN.startswith("mosquitto_pub -V mqttv5")
    assert UNREADABLE.startswith("mosquitto_sub -V mqttv5")
    assert "can-i" in CAN_I
    assert all(".venv/bin/stoa" in line for line in OTHERS)


def test_the_four_mosquitto_lines_do_what_the_readme_says(place: Place) -> None:
    require("mosquitto_pub")
    with place.run(WATCH) as watching:

        def heard() -> bool:
            with place.run(ALLOWED) as allowed:
                assert allowed.wait() == 0, allowed.dump()
            return "plant/pump-1/note hello" in watching.out

        wait_until(heard, what="the viewer to see the note")
        with place.run(FORBIDDEN) as forbidden:
            forbidden.wait()
        assert any("Not authorized" in line for line in forbidden.lines), forbidden.dump()
        place.up.program.wait_for_line("DENIED pump-1 publish plant/pump-2/note")
        assert not any("pump-2" in line for line in watching.out)
        watching.kill()
    with place.run(UNREADABLE) as unreadable:
        unreadable.wait_for_line("denied")
        unreadable.kill()
    place.up.program.wait_for_line("DENIED pump-1 subscribe plant/#")


def test_can_i_says_no_with_exit_code_3(place: Place) -> None:
    with place.run(CAN_I) as asked:
        assert asked.wait() == 3, asked.dump()
    assert asked.out[0].startswith("DENIED: pump-1 publish plant/pump-2/note")


@pytest.mark.parametrize("line", OTHERS)
def test_the_other_lines_succeed(place: Place, line: str) -> None:
    with place.run(line) as program:
        assert program.wait() == 0, program.dump()
        assert program.out
