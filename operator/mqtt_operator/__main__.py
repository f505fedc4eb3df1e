"""The operator program: `python -m mqtt_operator --broker-image IMAGE`. Chooses the parts and starts them."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import yaml

from mqtt_operator.cli.crds import crd_files
from mqtt_operator.cli.options import EXIT_FAILED, EXIT_USAGE
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError, UsageError
from mqtt_operator.handlers import logs
from mqtt_operator.handlers.program import MakeStories, Program
from mqtt_operator.settings import read_settings

log = logging.getLogger("mqtt_operator")


def main(make_stories: MakeStories, definitions: Sequence[Manifest], arguments: Sequence[str]) -> int:
    """Run the operator until SIGTERM or SIGINT; 0 after that, 1 or 2 with one line that says what to do.

    `definitions`: the CustomResourceDefinitions that the API server must serve.
    """
    try:
        settings = read_settings(arguments)
    except UsageError as problem:
        print(problem, file=sys.stderr)
        return EXIT_USAGE
    logs.set_up(settings.identity, settings.log_level, settings.log_format)
    code = 0
    try:
        asyncio.run(Program(settings, make_stories, definitions, leave_at_once=_leave_at_once).run())
    except* ExpectedError as problems:
        code = EXIT_FAILED
        for each in _each(problems):
            log.critical("%s", each, extra={"event": "operator.failed"})
    return code


def own_definitions() -> list[Manifest]:
    """The CustomResourceDefinitions of this very release."""
    return [yaml.safe_load(each.read_text("utf-8")) for each in crd_files()]


def _leave_at_once() -> None:
    """Without a word to anybody: what is under way must not go on beside another leader's."""
    logging.shutdown()
    os._exit(EXIT_FAILED)


def _each(group: BaseExceptionGroup[ExpectedError]) -> list[BaseException]:
    """What is in the group, and in the groups in it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    from mqtt_operator.handlers.parts import make_stories

    sys.exit(main(make_stories, own_definitions(), sys.argv[1:]))
