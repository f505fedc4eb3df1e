"""YAML files become documents that know their lines; whatever is no such file is a mistake, never an exception."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mqtt_operator.local import documents
from mqtt_operator.local.documents import Document, read_documents


def messages(folder: Any) -> list[str]:
    return [str(mistake).removeprefix(f"{folder.path}/") for mistake in read_documents(folder.path).mistakes]


def sole(folder: Any) -> Document:
    (document,) = read_documents(folder.path).documents
    return document


def test_hidden_files_and_folders_are_left_out(folder: Any) -> None:
    folder.write(".hidden.yaml", "a: 1")
    folder.write(".stoa/plant/x.yaml", "a: 1")
    folder.write("notes.txt", "a: 1")
    assert read_documents(folder.path).documents == ()


def test_empty_documents_are_nothing(folder: Any) -> None:
    folder.write("a.yaml", "---\n---\n# only a comment\n---\na: 1\n")
    assert sole(folder).line == 5


def test_files_are_read_in_the_order_of_their_names(folder: Any) -> None:
    folder.write("b.yml", "x: 2")
    folder.write("a.yaml", "x: 1")
    assert [document.value["x"] for document in read_documents(folder.path).documents] == [1, 2]


def test_dates_and_times_are_strings_as_in_kubernetes(folder: Any) -> None:
    folder.write("a.yaml", "date: 2026-01-31\ntime: 12:30\nnumber: 12\n")
    assert sole(folder).value == {"date": "2026-01-31", "time": "12:30", "number": 12}


def test_a_key_given_twice_is_a_mistake(folder: Any) -> None:
    folder.write("a.yaml", "spec:\n  list:\n  - port: 1\n    port: 2\n")
    assert messages(folder) == ["a.yaml:4: spec.list[0].port: is given twice; keep one"]


def test_a_key_that_is_no_string_is_a_mistake(folder: Any) -> None:
    folder.write("a.yaml", "labels:\n  on: x\n")
    assert messages(folder) == ['a.yaml:2: labels.on: is no string as a key; write "on" in quotes']


def test_a_document_that_is_no_mapping_is_a_mistake(folder: Any) -> None:
    folder.write("a.yaml", "a: 1\n---\n- b\n")
    assert messages(folder) == ["a.yaml:3: is not an object: expected apiVersion, kind, metadata, spec"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("spec.listeners[0].port", 5),
        ("spec.listeners[0].tls.secretRef", 4),
        ('metadata.labels["a.b/c"]', 2),
        ("spec", 3),
        ("nothing", 1),
    ],
)
def test_the_line_of_a_field_or_of_the_nearest_part_around_it(folder: Any, path: str, line: int) -> None:
    folder.write("a.yaml", 'metadata:\n  labels: {"a.b/c": x}\nspec:\n  listeners: [{name: x,\n    port: 1}]\n')
    assert sole(folder).line_of(path) == line


def test_tags_that_would_run_code_are_refused(folder: Any) -> None:
    folder.write("a.yaml", "a: !!python/object/apply:os.system ['true']\n")
    (message,) = messages(folder)
    assert "is not YAML" in message


def test_text_that_is_not_utf8_is_a_mistake(folder: Any) -> None:
    (folder.path / "a.yaml").write_bytes(b"a: \xff\xfe\xff")
    assert messages(folder) == ["a.yaml: is not text in UTF-8"]


def test_a_file_that_is_too_large_is_a_mistake(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES_MAX", 10)
    folder.write("a.yaml", "a: 12345678901")
    assert messages(folder) == ["a.yaml: is larger than 10 bytes; split it into several files"]


def test_aliases_that_multiply_are_stopped(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_VALUES_MAX", 1_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    folder.write("a.yaml", "\n".join(lines))
    assert messages(folder) == ["a.yaml: has a document of more than 1000 values"]


def test_an_alias_of_itself_is_a_mistake(folder: Any) -> None:
    folder.write("a.yaml", "a: &a [*a]")
    (message,) = messages(folder)
    assert message.startswith("a.yaml")


def test_too_many_files_are_a_mistake(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILES_MAX", 1)
    folder.write("a.yaml", "a: 1")
    folder.write("b.yaml", "a: 1")
    (mistake,) = read_documents(folder.path).mistakes
    assert "more than 1 YAML files" in mistake.message


def test_a_link_to_nothing_is_a_mistake(folder: Any) -> None:
    (folder.path / "a.yaml").symlink_to(folder.path / "gone")
    (message,) = messages(folder)
    words = "it is a link to something that does not exist; mend the link or delete it"
    assert message == f"a.yaml: cannot be read: {words}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied; check its permissions"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (FileNotFoundError(2, "No such file or directory"), "it is gone; put it back"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_mistake(
    folder: Any, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def fail(*_: Any) -> str:
        raise error

    folder.write("a.yaml", "a: 1")
    monkeypatch.setattr(documents, "_text_of", fail)
    assert messages(folder) == [f"a.yaml: cannot be read: {words}"]


def test_a_folder_that_is_gone_is_called_so(folder: Any) -> None:
    folder.path.rmdir()
    (message,) = messages(folder)
    assert message.endswith("cannot be listed: it is gone; put it back")


def test_a_folder_that_cannot_be_listed_is_unknown_not_empty(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(top: Path, onerror: Callable[[OSError], None]) -> list[Any]:
        onerror(PermissionError(13, "Permission denied", str(top / "sub")))
        return []

    monkeypatch.setattr(os, "walk", walk)
    assert messages(folder) == ["sub: cannot be listed: Permission denied; check its permissions"]
