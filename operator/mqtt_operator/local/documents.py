"""YAML files as documents that remember where each field stands.

Knows YAML and line numbers; does not know kinds, or what a document means.

The dialect is the one that Kubernetes' clients read: dates and 1:30 are strings, a key given twice is a mistake.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from mqtt_operator.errors import Mistake

FILE_BYTES_MAX = 4 * 1024 * 1024
FILES_MAX = 10_000
DOCUMENT_VALUES_MAX = 200_000  # aliases multiply: nine lines can stand for a billion values
SUFFIXES = frozenset({".yaml", ".yml"})

Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_STRING_TAG = "tag:yaml.org,2002:str"
_PATH_STEP = re.compile(r'\["([^"]*)"\]|\[([0-9]+)\]|([^.\[\]]+)')


class _Dialect(Loader):  # type: ignore[misc]  # which loader exists depends on how PyYAML was built
    """YAML 1.1 without dates and sexagesimal numbers, as Kubernetes reads it."""


_INTEGER = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_REPLACED_TAGS = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"})
_Dialect.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Dialect.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))


class Document(Struct, frozen=True, kw_only=True):
    """One document. `file` is as the person named it, `line` where it starts; `lines` maps each path to its line."""

    file: str
    line: int
    value: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def mistake(self, field: str, message: str) -> Mistake:
        """A mistake at `field`, a path as in `spec.listeners[0].port` or `metadata.labels["a/b"]`."""
        return Mistake(self.file, self.line_of(field), field, message)

    def line_of(self, field: str) -> int:
        """The line of the field, or of the nearest part around it that is written down."""
        path = tuple("".join(step) for step in _PATH_STEP.findall(field))
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


class Reading(Struct, frozen=True, kw_only=True):
    documents: tuple[Document, ...]
    mistakes: tuple[Mistake, ...]


def yaml_files(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """Every YAML file below the folder in a fixed order; what is hidden (a dot in front) is left out.

    `on_error` hears of each folder that cannot be listed: what is in it is not absent, it is unknown.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".") and Path(name).suffix in SUFFIXES]
    return sorted(found)


def is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_documents(*places: Path) -> Reading:
    """All documents of these files, and of all YAML files below these folders, each file once.

    A file that stops being YAML gives a mistake and the documents before it.
    """
    reader, read = _Reader(), set[Path]()
    for place in places:
        paths = [place] if _is_file(place) else yaml_files(place, reader.folder_unreadable)
        if len(paths) > FILES_MAX:
            message = f"holds more than {FILES_MAX} YAML files; name the folder of one broker"
            reader.mistakes.append(Mistake(str(place), 0, "", message))
        for path in paths[:FILES_MAX]:
            if path.absolute() not in read:
                read.add(path.absolute())
                reader.read(path)
    return Reading(documents=tuple(reader.documents), mistakes=tuple(reader.mistakes))


class _Reader:
    """Gathers documents and mistakes, file by file."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.mistakes: list[Mistake] = []
        self._file = ""

    def folder_unreadable(self, error: OSError) -> None:
        message = f"cannot be listed: {_why(error)}"
        self.mistakes.append(Mistake(str(error.filename), 0, "", message))

    def read(self, path: Path) -> None:
        self._file = str(path)
        try:
            self._parse(_text_of(path))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            self._mistake(mark.line + 1 if mark else 0, "", f"is not YAML: {what}")
        except (yaml.YAMLError, RecursionError) as error:
            self._mistake(0, "", f"is not YAML: {error}")
        except UnicodeDecodeError:
            self._mistake(0, "", "is not text in UTF-8")
        except OSError as error:
            self._mistake(0, "", f"cannot be read: {_why(error)}")
        except _TooLargeError as error:
            self._mistake(0, "", str(error))

    def _mistake(self, line: int, field: str, message: str) -> None:
        self.mistakes.append(Mistake(self._file, line, field, message))

    def _parse(self, text: str) -> None:
        loader = _Dialect(text)
        try:
            while loader.check_node():
                self._take(loader, loader.get_node())
        finally:
            loader.dispose()

    def _take(self, loader: Any, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        lines: dict[tuple[str, ...], int] = {}
        self._survey(node, (), lines)
        value = loader.construct_document(node)
        if value is None:
            return
        if isinstance(value, dict):
            self.documents.append(Document(file=self._file, line=line, value=value, lines=lines))
        else:
            self._mistake(line, "", "is not an object: expected apiVersion, kind, metadata, spec")

    def _survey(self, node: yaml.Node, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
        """Note each field's line and keys given twice; stop at a document that aliases blow up."""
        if len(lines) > DOCUMENT_VALUES_MAX:
            raise _TooLargeError(f"has a document of more than {DOCUMENT_VALUES_MAX} values")
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                lines[(*path, str(index))] = item.start_mark.line + 1
                self._survey(item, (*path, str(index)), lines)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, item in node.value:
                step, line = str(key.value), key.start_mark.line + 1
                if step in seen:
                    self._mistake(line, _field((*path, step)), "is given twice; keep one")
                if key.tag != _STRING_TAG:
                    self._mistake(line, _field((*path, step)), f'is no string as a key; write "{step}" in quotes')
                seen.add(step)
                lines[(*path, step)] = line
                self._survey(item, (*path, step), lines)


def _is_file(place: Path) -> bool:
    try:
        return place.exists() and not place.is_dir()
    except OSError:  # it is told when it cannot be listed
        return False


def _field(path: tuple[str, ...]) -> str:
    steps = [f"[{step}]" if step.isdecimal() else f'["{step}"]' if {*"./"} & {*step} else f".{step}" for step in path]
    return "".join(steps).removeprefix(".")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        if error.filename and Path(error.filename).is_symlink():
            return "it is a link to something that does not exist; mend the link or delete it"
        return "it is gone; put it back"
    if isinstance(error, PermissionError):
        return f"{error.strerror}; check its permissions"
    return str(error.strerror)


class _TooLargeError(Exception):
    pass


def _text_of(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _TooLargeError(f"is larger than {FILE_BYTES_MAX} bytes; split it into several files")
    return path.read_text("utf-8")
