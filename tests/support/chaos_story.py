"""Records written by hand, a second per event: what a judge of the chaos runs is tested with."""

from typing import Self

from cluster.chaos.record import (
    Acknowledged,
    Asked,
    Connected,
    Ended,
    Event,
    FaultBegan,
    FaultEnded,
    Found,
    How,
    Received,
    Record,
    Refused,
    Sampled,
    Sent,
    Stray,
    Subscribed,
    WillOffered,
    name_of,
)
from cluster.chaos.terms import Terms

NODE = "node-0"


class Story:
    """Tell what happened, in order; `record` is what an observer would have written down. `at` is the time now."""

    def __init__(self) -> None:
        self.record: Record = []
        self.terms = Terms()
        self.at = 0.0
        self._links: dict[str, int] = {}
        self._next_link = 0

    def then(self, event: Event) -> Self:
        """Anything else, at its own time."""
        self.record.append(event)
        return self

    def wait(self, seconds: float) -> Self:
        self.at += seconds
        return self

    def _tick(self) -> float:
        self.at += 1.0
        return self.at

    def link_of(self, client: str) -> int:
        """The connection that a client made last."""
        return self._links[client]

    def connects(self, client: str, *, lasts: bool = True, present: bool = False, resumes: bool | None = None) -> Self:
        self._next_link += 1
        link = self._links[client] = self._next_link
        asked_at = self._tick()
        self.then(Asked(asked_at, client, link, NODE))
        resumes = lasts if resumes is None else resumes
        return self.then(Connected(self._tick(), client, link, NODE, asked_at, resumes, lasts, present))

    def is_refused(self, client: str) -> Self:
        return self.then(Refused(self._tick(), client, NODE, 0x86))

    def ends(self, client: str, how: How = How.CLOSED) -> Self:
        return self.then(Ended(self._tick(), client, self.link_of(client), how))

    def comes_back(self, client: str) -> Self:
        """Its connection broke, and it has another one that resumes its session."""
        return self.ends(client).connects(client, present=True)

    def subscribes(self, client: str, topic_filter: str, granted: int = 2) -> Self:
        asked_at = self._tick()
        return self.then(Subscribed(self._tick(), client, self.link_of(client), asked_at, topic_filter, granted))

    def sends(
        self,
        client: str,
        number: int,
        topic: str = "t",
        qos: int = 1,
        *,
        retain: bool = False,
        deletes: bool = False,
        again: bool = False,
        expiry_s: int | None = None,
    ) -> Self:
        name = name_of(client, number)
        link = self.link_of(client)
        return self.then(Sent(self._tick(), client, link, name, topic, qos, retain, again, expiry_s, deletes))

    def acknowledged(self, client: str, number: int, reason: int = 0) -> Self:
        return self.then(Acknowledged(self._tick(), client, name_of(client, number), reason))

    def publishes(self, client: str, number: int, topic: str = "t", qos: int = 1, *, retain: bool = False) -> Self:
        """Sent and acknowledged."""
        return self.sends(client, number, topic, qos, retain=retain).acknowledged(client, number)

    def receives(
        self,
        client: str,
        message: str,
        topic: str = "t",
        qos: int = 1,
        *,
        dup: bool = False,
        is_new: bool = True,
    ) -> Self:
        link = self.link_of(client)
        return self.then(Received(self._tick(), client, link, message, topic, qos, dup, retain=False, is_new=is_new))

    def stray(self, client: str, link: int) -> Self:
        return self.then(Stray(self._tick(), client, link, "Publish"))

    def offers_will(
        self, client: str, topic: str, delay_s: int = 0, *, lasts: bool = True, present: bool = False
    ) -> Self:
        """Connects with a will whose name is that of the client with "-will"."""
        name = name_of(f"{client}-will", self._next_link + 1)
        self.then(WillOffered(self._tick(), client, self._next_link + 1, name, topic, delay_s))
        return self.connects(client, lasts=lasts, present=present)

    def will_of(self, client: str) -> str:
        """The name of the will of its latest connection."""
        return name_of(f"{client}-will", self.link_of(client))

    def finds(self, topic: str, message: str, node: str = NODE, *, is_final: bool = True) -> Self:
        asked_at = self._tick()
        return self.then(Found(self._tick(), node, asked_at, topic, message, is_final))

    def samples(self, name: str, rss_bytes: int, fds: int = 10, *, is_final: bool = False) -> Self:
        return self.then(Sampled(self._tick(), name, rss_bytes, fds, is_final))

    def fault(self, kind: str, seconds: float = 1.0, target: str = NODE, number: int = 0) -> Self:
        """One that begins and ends with nothing in between."""
        self.then(FaultBegan(self._tick(), number, kind, target))
        return self.then(FaultEnded(self.at + seconds, number, kind, target))
