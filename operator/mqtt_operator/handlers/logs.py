"""Log lines: one JSON object each for machines, one plain line for people.

Knows the form of a line; does not know who logs. Control characters never leave: an object's text cannot end a line.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from mqtt_operator.settings import LogFormat, LogLevel

LEVELS = {LogLevel.DEBUG: logging.DEBUG, LogLevel.INFO: logging.INFO, LogLevel.WARNING: logging.WARNING}
OURS = "mqtt_operator"
SILENT = ("kopf._cogs.clients.watching", "kopf._core.reactor.orchestration", "kopf._core.reactor.running")


class JSONLines(logging.Formatter):
    """`ts` (RFC 3339, UTC), `level`, `event` (dotted, stable), `pod`, `message`, and the record's own fields."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self._identity = identity

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name.removeprefix(f"{OURS}.")),
            "pod": self._identity,
            "message": record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class PlainLines(logging.Formatter):
    """Time, level and sentence."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = "".join(each if each.isprintable() else " " for each in record.getMessage())
        line = f"{moment} {record.levelname.lower():8} {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(identity: str, level: LogLevel, line_format: LogFormat) -> None:
    """Send everything to stderr in the asked form. Call once, before anything is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines(identity) if line_format is LogFormat.JSON else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(LEVELS[level])
    # kopf logs what it makes of each object at INFO, with the whole object at DEBUG: our passes say it better.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # And it tells each attempt, and each task that ends by it: whoever runs it says it once.
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
