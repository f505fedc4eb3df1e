"""Any YAML, read as a custom resource: the resource, or InvalidResource with mistakes that repeat no value."""

import contextlib

import yaml

from mqtt_api.resources import InvalidResource, Mistake, parse_document

BYTES_MAX = 4096  # what the YAML reader makes of more is not ours


def run(data: bytes) -> None:
    document: object = None
    with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError, AttributeError):
        document = yaml.load(data[:BYTES_MAX].decode(), yaml.CSafeLoader)  # what it raises is the loader's business
    resource = None
    mistakes: tuple[Mistake, ...] = ()
    try:
        resource = parse_document(document)
    except InvalidResource as invalid:
        mistakes = invalid.mistakes
    if resource is None:
        assert mistakes
        assert all(mistake.message for mistake in mistakes), mistakes
        return
    assert parse_document(resource.model_dump(mode="json", by_alias=True, exclude_unset=True)) == resource
