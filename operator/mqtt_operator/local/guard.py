"""Runs a program that must not outlive `stoa up`, and that knows nothing of us: `python -m ... LOCK PROGRAM ARGUMENTS`.

Knows processes; does not know which program. `stoa up` holds the writing end of our standard input: when that closes,
even by `kill -9`, the program is asked to end (SIGTERM). The program holds the lock as long as it lives, also if we
were killed: never do two of them use one folder. What it writes comes out on our standard error. Only the standard
library: this starts in a moment.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

STARTED_EVENT = "guard.started"
# One of a former run may be about to end.
LOCK_S_MAX = 10.0
LOCK_RETRY_S = 0.05
EXIT_LOCKED = 75  # EX_TEMPFAIL


def main() -> int:
    """The exit status of the program, 128 + signal if one ended it."""
    lock, *command = sys.argv[1:]
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(descriptor):
        _say("error", "guard.locked", f"One of a former run still lives and holds {Path(lock).parent}: end it first.")
        return EXIT_LOCKED
    # In a session of its own: Ctrl-C is for `stoa up`, which ends it in order.
    program = subprocess.Popen(  # noqa: S603 - the caller is `stoa up`, and says which
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,
        pass_fds=(descriptor,),
    )

    def end(_number: int = 0, _frame: FrameType | None = None) -> None:
        program.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    _say("info", STARTED_EVENT, "started")

    def follow_parent() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        end()

    threading.Thread(target=follow_parent, daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _locked(descriptor: int) -> bool:
    deadline = time.monotonic() + LOCK_S_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_RETRY_S)
        else:
            return True


def _say(level: str, event: str, message: str) -> None:
    print(json.dumps({"level": level, "event": event, "message": message}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
