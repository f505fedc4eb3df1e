"""The API server's own words: requests by path, answers with their status, nothing retried and nothing hidden.

For tests that look at a refusal or at one request; what people do goes through kubectl.
"""

import http.client
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from support.kube import login

ANSWER_S_MAX = 60.0
IDLE_S_MAX = 30.0  # a server closes a connection that it has heard nothing of for a while, and says so to nobody


class Answer(NamedTuple):
    """`body`: the object, or the Status that says why there is none."""

    code: int
    body: dict[str, Any]

    @property
    def causes(self) -> list[tuple[str, str]]:
        """What a refusal says: field and sentence. The object as a whole is the field with no name."""
        causes = self.body.get("details", {}).get("causes", [])
        return [(cause.get("field", "").replace("<nil>", ""), cause["message"]) for cause in causes]


class Api:
    """One connection to one API server, as whoever the kubeconfig names. For one thread."""

    def __init__(self, kubeconfig: Path) -> None:
        server, context = login.read(kubeconfig)
        address = urlsplit(server)
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=ANSWER_S_MAX, context=context
        )
        self._used_at = 0.0

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        kind: str = "application/json",
        **query: str,
    ) -> Answer:
        """One request. `kind`: the media type of the body; a patch says with it which sort of patch it is.

        One that fails does so alone: the next one has a connection of its own.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        text = None if body is None else json.dumps(body)
        if time.monotonic() - self._used_at > IDLE_S_MAX:
            self._connection.close()
        try:
            self._connection.request(method, target, text, {"Content-Type": kind, "Accept": "application/json"})
            response = self._connection.getresponse()
            answer = response.read()
        except BaseException:
            self._connection.close()
            raise
        self._used_at = time.monotonic()
        return Answer(response.status, json.loads(answer))

    def close(self) -> None:
        self._connection.close()
