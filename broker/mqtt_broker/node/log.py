"""Log lines: one JSON object each for machines, one plain line for people. Nothing a client sent can end a line."""

import json
import logging
import sys
from datetime import UTC, datetime

from mqtt_broker.auth.audit import printable

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class JSONLines(logging.Formatter):
    """`ts` (RFC 3339, UTC), `level`, `event` (dotted, stable), `message`, `node`, and the record's own fields."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name.removeprefix("mqtt_broker.")),
            "node": self._node,
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
        line = f"{moment} {record.levelname.lower():8} {printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(node: str, level: str, line_format: str) -> None:
    """Send everything to stderr in the asked form. Call once, before anything is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines(node) if line_format == "json" else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mqtt_broker").setLevel(LEVELS[level])
