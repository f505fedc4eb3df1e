"""Questions to a server that may not be there yet. No answer is an answer: not ready."""

import http.client
import socket
import ssl

from support.kube.plan import Plan

PROBE_S_MAX = 5.0


def accepts(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), PROBE_S_MAX).close()
    except OSError:
        return False
    return True


def is_ready(plan: Plan) -> bool:
    """What the API server says of itself."""
    trust = ssl.create_default_context(cafile=plan.authority.pair.certificate)
    connection = http.client.HTTPSConnection(plan.address, plan.port, timeout=PROBE_S_MAX, context=trust)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
