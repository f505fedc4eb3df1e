"""The broker program: `python -m mqtt_broker --settings FILE [--node NAME]`; it hears signals from its first moment on.

Knows signals only: node/program.py is the rest, and takes a second to be read. The first process of a container has no
default action for them: until there is a handler, a SIGTERM is lost, and the pod ends when its whole grace is over.
"""

import os
import signal
import sys


def stop_while_starting() -> None:
    """Nothing has begun yet: there is nothing to end in order. Holds until the program takes the signals itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


if __name__ == "__main__":
    stop_while_starting()
    from mqtt_broker.node.program import main

    sys.exit(main())
