"""What `python -m mqtt_broker` does once signals are heard: chooses the parts and starts them."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from mqtt_broker.node import log as logs
from mqtt_broker.node.node import EndedError, Node, StartError
from mqtt_broker.settings import SettingsError, read_settings
from mqtt_broker.store.ports import StoreError

log = logging.getLogger("mqtt_broker.node")

EXIT_FAILED = 1


def main() -> int:
    """Run one node until SIGTERM or SIGINT; 0 after a clean stop, 1 with one line that says what to do."""
    parser = argparse.ArgumentParser(prog="mqtt_broker", description="One node of the broker.")
    parser.add_argument("--settings", type=Path, required=True, help="the node's settings, JSON")
    parser.add_argument("--node", type=_name, metavar="NAME", help="its name, instead of the one in the settings")
    parser.add_argument(
        "--stop-on-stdin-eof", action="store_true", help="stop when standard input ends: the parent is gone"
    )
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.settings, arguments.node)
    except SettingsError as problem:
        print(problem, file=sys.stderr)
        return EXIT_FAILED
    logs.set_up(settings.node, settings.log_level, settings.log_format)
    try:
        _run(arguments.settings, arguments.node, stop_on_stdin_eof=arguments.stop_on_stdin_eof)
    except (StartError, EndedError, StoreError, SettingsError) as problem:
        log.critical("%s", problem, extra={"event": "node.failed", "fields": {"problem": str(problem)}})
        return EXIT_FAILED
    return 0


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a node needs a name")
    return text


def _run(settings_file: Path, name: str | None, *, stop_on_stdin_eof: bool) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(settings_file, name, stop_on_stdin_eof=stop_on_stdin_eof))
    else:
        uvloop.run(_serve(settings_file, name, stop_on_stdin_eof=stop_on_stdin_eof))


async def _serve(settings_file: Path, name: str | None, *, stop_on_stdin_eof: bool) -> None:
    node = Node(settings_file, name)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    watching = asyncio.create_task(_stop_with_parent(node)) if stop_on_stdin_eof else None
    try:
        await node.run()
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _stop_with_parent(node: Node) -> None:
    """A parent that dies without a word closes our standard input: then nobody is left to stop us."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    node.stop()
