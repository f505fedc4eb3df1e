"""Asks the operator at HOST PORT whether it is ready, until it is."""

import http.client
import sys
import time

DEADLINE_S = 60

until = time.monotonic() + DEADLINE_S
while True:
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
        if answer.status == http.HTTPStatus.OK:
            print("ready")
            break
    except (OSError, http.client.HTTPException) as problem:
        said = str(problem)
    finally:
        connection.close()
    if time.monotonic() > until:
        sys.exit(f"The operator is not ready after {DEADLINE_S} s: {said}")
    time.sleep(1)
