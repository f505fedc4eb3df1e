"""Mistakes in a folder, for whoever asks about what it declares: a few of them, and that another folder may be meant.

Knows who is asking; does not know what they ask.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mqtt_operator.errors import ExpectedError, FilesRefusedError

MISTAKES_SHOWN_MAX = 10


@contextmanager
def few_mistakes(naming: str) -> Iterator[None]:
    """Raises ExpectedError instead of FilesRefusedError. `naming`: how the folder is named, such as `with -f`.

    Whoever asks is no author of the files, and may have forgotten to name the folder.
    """
    try:
        yield
    except FilesRefusedError as refused:
        more = len(refused.mistakes) - MISTAKES_SHOWN_MAX
        shown = [str(each) for each in refused.mistakes[:MISTAKES_SHOWN_MAX]]
        shown += [f"... and {more} more"] if more > 0 else []
        raise ExpectedError(
            refused.what,
            where="\n  ".join(shown),
            to_do=f"Name the folder {naming}; `stoa validate FOLDER` lists all mistakes of one.",
        ) from refused
