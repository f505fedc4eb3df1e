"""The compiler that follows changes: at any time it has the policy that `compile_policy` would make of all objects.

Knows what a changed object touches, and touches nothing else; does not know who may be a member, where objects come
from, or who carries the policy to the nodes. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from mqtt_api.kinds.topicpermission import SubjectKind
from mqtt_api.policy import Effect, Principal, Purge
from mqtt_api.policy_lines import Outline, Part, Section, digest_of, encode_entry, outline_line, part
from mqtt_api.resources import MQTTClient, TopicPermission
from mqtt_operator.policy.attachment import holder
from mqtt_operator.policy.compile import Proof, is_for, principal_of, rules_of
from mqtt_operator.policy.facts import RuleBook, RuleFacts
from mqtt_operator.policy.lines import LineTable
from mqtt_operator.policy.matching import NO_MARKS, Marks, Matching, marks_of, numbers, wanted_by

# Who a permission is for, as bits: those without a name, those without an MQTTClient, and then each client.
_ANONYMOUS = 1
_EVERYBODY_ELSE = ~_ANONYMOUS
_FIRST_CLIENT = 2


class Draft(Struct, frozen=True, kw_only=True):
    """A policy without a revision: `outline` has none yet, `parts` are the lines behind it."""

    outline: Outline
    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """Equal digests mean equal decisions and log-ins."""
        return self.outline.digest

    def at(self, revision: int) -> tuple[Part, ...]:
        """The whole document as this revision."""
        return (part(outline_line(msgspec.structs.replace(self.outline, revision=revision))), *self.parts)


class _Member(Struct):
    """A client that was put. `alone` is its principal without permissions."""

    number: int
    client: MQTTClient
    alone: Principal


class Compiler:
    """`holders`: whose each user name was, as uids, from the policy in force; kept up to date from then on."""

    def __init__(self, holders: Mapping[str, str] | None = None) -> None:
        self._default_effect = Effect.DENY
        self._salt_key = b""
        self._purges: dict[str, Purge] = {}
        self._permissions = LineTable(Section.PERMISSIONS)
        self._principals = LineTable(Section.PRINCIPALS)
        self._matching = Matching()
        self._authenticated: set[str] = set()
        self._anonymous: set[str] = set()
        self._members: dict[str, _Member] = {}
        self._by_number: dict[int, str] = {}
        self._free: list[int] = []
        self._granted: defaultdict[str, set[str]] = defaultdict(set)
        self._claims: defaultdict[str, dict[str, MQTTClient]] = defaultdict(dict)
        self._holders = dict(holders or {})
        self._kept: dict[str, Principal] = {}
        self._stale = set(self._holders)  # user names
        self._moved: set[str] = set()  # permissions
        self._rules = RuleBook(self._reach)

    # What changed

    def set_frame(self, default_effect: Effect, salt_key: bytes, purges: Mapping[str, Purge]) -> None:
        """What no client or permission says."""
        self._default_effect, self._salt_key, self._purges = default_effect, salt_key, dict(purges)

    def put_client(self, client: MQTTClient, proof: Proof) -> None:
        """The client is a member, and is like this."""
        reference = client.reference
        known = self._members.get(reference)
        if known is not None and known.client.username != client.username:
            self._disclaim(reference, known.client.username)
        if known is None:
            self._moved |= self._authenticated
        member = _Member(
            number=self._new_number(reference) if known is None else known.number,
            client=client,
            alone=principal_of(client, proof),
        )
        self._members[reference] = member
        self._claims[client.username][reference] = client
        self._stale.add(client.username)
        moved = self._matching.put_client(member.number, marks_of(client))
        self._granted[reference] ^= moved
        self._move(moved)

    def drop_client(self, reference: str) -> None:
        """The client is gone, or no member any more. Idempotent."""
        member = self._members.pop(reference, None)
        if member is not None:
            self._move(self._matching.put_client(member.number, NO_MARKS) | self._authenticated)
            self._granted.pop(reference, None)
            self._disclaim(reference, member.client.username)
            del self._by_number[member.number]
            self._free.append(member.number)

    def put_permission(self, permission: TopicPermission) -> None:
        """The permission is in force, and is like this."""
        reference = permission.reference
        is_for_all = is_for(permission, SubjectKind.AUTHENTICATED)
        rules = rules_of(permission)
        self._permissions.put(reference, encode_entry(rules))
        _keep(self._authenticated, reference, wanted=is_for_all)
        _keep(self._anonymous, reference, wanted=is_for(permission, SubjectKind.ANONYMOUS))
        self._ask(reference, () if is_for_all else wanted_by(permission))
        self._rules.put(reference, rules)

    def drop_permission(self, reference: str) -> None:
        """The permission is gone, or not in force any more. Idempotent."""
        self._permissions.drop(reference)
        self._authenticated.discard(reference)
        self._anonymous.discard(reference)
        self._ask(reference, ())
        self._rules.drop(reference)
        self._moved.discard(reference)

    def keep(self, principal: Principal) -> None:
        """This principal stays though its client is gone, until `let_go` or until a client has its user name."""
        self._kept[principal.username] = principal
        self._stale.add(principal.username)

    def let_go(self) -> list[Principal]:
        """Of all that were kept; these were they."""
        self._stale |= self._kept.keys()
        gone, self._kept = list(self._kept.values()), {}
        return gone

    # What follows

    def draft(self) -> Draft:
        """The policy of now."""
        for username in self._stale:
            self._settle(username)
        self._stale.clear()
        outline = Outline(
            default_effect=self._default_effect,
            scram_salt_key=self._salt_key,
            authenticated=tuple(sorted(self._authenticated)),
            anonymous=tuple(sorted(self._anonymous)),
            purges=self._purges,
        )
        parts = (*self._permissions.parts(), *self._principals.parts())
        digest = digest_of(outline, (each.digest for each in parts))
        return Draft(outline=msgspec.structs.replace(outline, digest=digest), parts=parts)

    def holder_of(self, username: str) -> MQTTClient | None:
        """The client that has this user name in the last draft."""
        uid = self._holders.get(username)
        return None if uid is None else holder(list(self._claims[username].values()), uid)

    def claimants(self, username: str) -> Mapping[str, MQTTClient]:
        """All clients that want this user name, by reference."""
        return self._claims.get(username, {})

    def principal(self, username: str) -> Principal | None:
        """As it stands in the last draft, but for what is stale since; None: nobody has this user name."""
        client = self.holder_of(username)
        if client is None:
            return self._kept.get(username)
        return self._whole(client.reference)

    @property
    def count(self) -> int:
        """How many user names somebody has in the last draft."""
        return len(self._holders)

    @property
    def kept(self) -> int:
        """How many principals stay though their clients are gone."""
        return len(self._kept)

    def moved(self) -> set[str]:
        """The permissions that mean others than when this was asked last."""
        moved, self._moved = self._moved, set()
        return moved

    def rule_news(self) -> Iterator[tuple[str, RuleFacts]]:
        """What is to be known of the rules of each permission that may have got other facts. Worked out as asked for:
        stop whenever it has taken long enough, and ask again."""
        return self._rules.news()

    def matched(self, reference: str) -> int:
        """How many clients the permission means."""
        if reference in self._authenticated:
            return len(self._members)
        return self._matching.meant_by(reference).bit_count()

    def _settle(self, username: str) -> None:
        claims = self._claims.get(username)
        winner = holder(list(claims.values()), self._holders.get(username, "")) if claims else None
        if winner is not None:
            self._kept.pop(username, None)
            self._holders[username] = winner.metadata.uid or ""
            self._principals.put(username, encode_entry(self._whole(winner.reference)))
        elif username in self._kept:
            kept = self._kept[username]
            self._holders[username] = kept.uid
            in_force = tuple(each for each in kept.permissions if self._permissions.has(each))
            self._principals.put(username, encode_entry(msgspec.structs.replace(kept, permissions=in_force)))
        else:
            self._principals.drop(username)
            self._holders.pop(username, None)

    def _whole(self, reference: str) -> Principal:
        granted = tuple(sorted(self._granted.get(reference, ())))
        return msgspec.structs.replace(self._members[reference].alone, permissions=granted)

    def _disclaim(self, reference: str, username: str) -> None:
        claims = self._claims[username]
        claims.pop(reference, None)
        if not claims:
            del self._claims[username]
        self._stale.add(username)

    def _move(self, permissions: Iterable[str]) -> None:
        """These mean others than before."""
        for permission in permissions:
            self._moved.add(permission)
            self._rules.moved(permission)

    def _reach(self, permission: str) -> int:
        reach = self._matching.meant_by(permission) << _FIRST_CLIENT
        if permission in self._authenticated:
            reach |= _EVERYBODY_ELSE
        return reach | _ANONYMOUS if permission in self._anonymous else reach

    def _ask(self, permission: str, wanted: tuple[Marks, ...]) -> None:
        self._moved.add(permission)
        self._stale |= {name for name, kept in self._kept.items() if permission in kept.permissions}
        moved = self._matching.put_permission(permission, wanted)
        for number in numbers(moved.gained | moved.lost):
            reference = self._by_number[number]
            self._granted[reference] ^= {permission}
            self._stale.add(self._members[reference].client.username)

    def _new_number(self, reference: str) -> int:
        """The smallest that is free, so that sets stay short."""
        number = self._free.pop() if self._free else len(self._by_number)
        self._by_number[number] = reference
        return number


def _keep(references: set[str], reference: str, *, wanted: bool) -> None:
    if wanted:
        references.add(reference)
    else:
        references.discard(reference)
