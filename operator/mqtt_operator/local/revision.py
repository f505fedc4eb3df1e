"""The policy's revision: grows by one with each change of content, over restarts too, and never goes back.

Knows the counter and the digest it stands for; does not know what a policy says.
"""

import msgspec
from msgspec import Struct

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import read_or_none, write_private


class Revision(Struct, frozen=True, kw_only=True):
    number: int = 0
    digest: str = ""


def load_revision(data: DataFolder) -> Revision:
    """The last one given, or 0 if there never was one. Raises DataFolderError."""
    stored = read_or_none(data.revision)
    if stored is None:
        return Revision()
    try:
        return msgspec.json.decode(stored, type=Revision)
    except msgspec.DecodeError as error:
        raise DataFolderError(
            "The policy's revision cannot be read; nodes never go back to a lower one, so it is not guessed.",
            where=f"path: {data.revision}: {error}",
            to_do="Restore that file from a backup, or start anew with another --data.",
        ) from error


def next_revision(last: Revision, digest: str) -> Revision:
    """The same for the same content, else one more."""
    return last if digest == last.digest else Revision(number=last.number + 1, digest=digest)


def save_revision(data: DataFolder, revision: Revision) -> None:
    """To be called before the policy is written: a crash in between skips a number, which harms nobody.

    Raises DataFolderError.
    """
    write_private(data.revision, msgspec.json.encode(revision))


def raise_revision(data: DataFolder, in_force: int) -> None:
    """The next revision is higher than this one, whatever its content: the store has it already.

    So it is after this folder came back from a backup. Raises DataFolderError.
    """
    if in_force >= load_revision(data).number:
        save_revision(data, Revision(number=in_force))
