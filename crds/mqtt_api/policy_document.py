"""The policy as a document that travels from the one who compiles it to the nodes: written, and read line by line.

Knows how to refuse what is not a policy, and how to read one of a newer version without granting too much; does not
know files, stores, who writes, or where lines are cut (policy_lines.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from mqtt_api.policy_lines import Outline, lines_of
from mqtt_api.policy_values import Effect, Policy, Principal, Purge, Rule
from mqtt_api.rule_set import QOS_LEVELS
from mqtt_api.scram import SALT_KEY_BYTES
from mqtt_api.templates import check_template
from mqtt_api.topics import TopicError

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_RULE_FIELDS = frozenset(Rule.__struct_fields__)

T = TypeVar("T")


class _Entries(msgspec.Struct, forbid_unknown_fields=True):
    """A line whose entries are not decoded: most of them are as they were in the last document."""

    permissions: dict[str, msgspec.Raw] = {}
    principals: dict[str, msgspec.Raw] = {}


class _FirstLine(_Entries, forbid_unknown_fields=True):
    """With the fields of Outline. Tables may stand here too: a policy of one line is one."""

    revision: int = 0
    digest: str = ""
    default_effect: Effect = Effect.DENY
    scram_salt_key: bytes = b""
    authenticated: tuple[str, ...] = ()
    anonymous: tuple[str, ...] = ()
    purges: dict[str, Purge] = {}

    def outline(self) -> Outline:
        return Outline(**{name: getattr(self, name) for name in Outline.__struct_fields__})


class _WholeEntries(msgspec.Struct):
    """The same with everything decoded, for the path of a mistake from the line's root."""

    permissions: dict[str, tuple[Rule, ...]] = {}
    principals: dict[str, Principal] = {}


class _Line(NamedTuple):
    """One line, understood. `written` are the entries of both tables as they stand in it."""

    permissions: Mapping[str, tuple[Rule, ...]]
    principals: Mapping[str, Principal]
    written: _Entries


_first_lines = msgspec.json.Decoder(_FirstLine)
_entries = msgspec.json.Decoder(_Entries)
_whole_entries = msgspec.json.Decoder(_WholeEntries)
_rules = msgspec.json.Decoder(tuple[Rule, ...])
_rule_fields = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...])
_principals = msgspec.json.Decoder(Principal)


def encode_policy(policy: Policy) -> bytes:
    """The file or value that carries the policy to nodes, sorted and compact. Equal policies give equal bytes."""
    return b"".join(lines_of(policy))


def decode_policy(document: bytes | Sequence[bytes]) -> Policy:
    """Raises ValueError with line and field when the document is not a policy; the caller keeps the one it has.

    A rule may hold fields that this version does not know. Then an allow keeps its place but names no topic any more,
    and a deny stands as far as it is understood, which is wider than it was meant.
    """
    return PolicyDecoder().decode(document)


class PolicyDecoder:
    """`decode_policy` for one document after the other: of the next only what changed is decoded and checked.

    What did not change is the same object in both policies. Keeps the last document in memory. Not thread-safe.
    """

    def __init__(self) -> None:
        self._policy = Policy()
        self._lines: dict[bytes, _Line] = {}
        self._permissions = _Table("permissions", _permission_of)
        self._principals = _Table("principals", _principal_of)

    def decode(self, document: bytes | Sequence[bytes]) -> Policy:
        """As `decode_policy`, which it is equal to for every document, whole or in lines.

        After an error it goes on as before.
        """
        first, *others = _split(document)
        head = _read(_first_lines, first, 1)
        lines = {first: self._line(head, first, 1)}
        for number, line in enumerate(others, 2):
            known = self._lines.get(line)
            lines[line] = known or self._line(_read(_entries, line, number), line, number)
        policy = _policy_of(head.outline(), list(lines.values()), 1 + len(others))
        _check_outline(policy)
        for name, principal in self._unchecked(policy, lines).items():
            _check_principal(policy, name, principal)
        self._keep(policy, lines)
        return policy

    def _line(self, written: _Entries, line: bytes, number: int) -> _Line:
        try:
            return _Line(self._permissions.read(written), self._principals.read(written), written)
        except _UNREADABLE as error:
            raise _unreadable(line, number, error) from error

    def _unchecked(self, policy: Policy, lines: Mapping[bytes, _Line]) -> Mapping[str, Principal]:
        """Whom the checks of the last document do not hold for."""
        before = self._policy
        has_lost_key = before.scram_salt_key and not policy.scram_salt_key
        if has_lost_key or before.permissions.keys() - policy.permissions.keys():
            return policy.principals
        new = (line.principals.items() for key, line in lines.items() if key not in self._lines)
        return {name: one for principals in new for name, one in principals if before.principals.get(name) is not one}

    def _keep(self, policy: Policy, lines: dict[bytes, _Line]) -> None:
        gone = [line.written for key, line in self._lines.items() if key not in lines]
        new = [line for key, line in lines.items() if key not in self._lines]
        self._permissions.keep(gone, [(line.written, line.permissions) for line in new])
        self._principals.keep(gone, [(line.written, line.principals) for line in new])
        self._policy, self._lines = policy, lines


class _Table(Generic[T]):
    """What one table of the last document said, entry by entry: an entry that is written alike is not decoded again."""

    def __init__(self, section: str, decode: Callable[[str, msgspec.Raw], T]) -> None:
        self._section = section
        self._decode = decode
        self._known: dict[str, tuple[msgspec.Raw, T]] = {}

    def read(self, line: _Entries) -> dict[str, T]:
        return {name: self._read(name, written) for name, written in self._of(line).items()}

    def keep(self, gone: Iterable[_Entries], new: Iterable[tuple[_Entries, Mapping[str, T]]]) -> None:
        for line in gone:
            for name in self._of(line):
                self._known.pop(name, None)
        for line, values in new:
            self._known.update({name: (written, values[name]) for name, written in self._of(line).items()})

    def _read(self, name: str, written: msgspec.Raw) -> T:
        known = self._known.get(name)
        return known[1] if known is not None and known[0] == written else self._decode(name, written)

    def _of(self, line: _Entries) -> dict[str, msgspec.Raw]:
        entries: dict[str, msgspec.Raw] = getattr(line, self._section)
        return entries


# Reading -------------------------------------------------------------------------------------------------------------


def _split(document: bytes | Sequence[bytes]) -> Sequence[bytes]:
    """Lines without their ends; at least one. A document that came in lines is not copied."""
    if not isinstance(document, bytes):
        return document or [b""]
    lines = document.split(b"\n")  # JSON that is compact holds none
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


Head = TypeVar("Head", bound=_Entries)


def _read(decoder: msgspec.json.Decoder[Head], line: bytes, number: int) -> Head:
    try:
        return decoder.decode(line)
    except _UNREADABLE as error:
        raise _unreadable(line, number, error) from error


def _unreadable(line: bytes, number: int, error: Exception) -> ValueError:
    """With the path from the line's root, which an entry decoded alone does not know."""
    try:
        _whole_entries.decode(line)
    except _UNREADABLE as whole:
        error = whole
    return ValueError(f"the policy document is malformed in line {number}: {error}")


def _permission_of(reference: str, written: msgspec.Raw) -> tuple[Rule, ...]:
    rules = _rules.decode(written)
    for number, rule in enumerate(rules):
        _check_rule(rule, reference, f"$.permissions[{reference!r}][{number}]")
    return tuple(_as_understood(rule, names) for rule, names in zip(rules, _rule_fields.decode(written), strict=True))


def _principal_of(_: str, written: msgspec.Raw) -> Principal:
    return _principals.decode(written)


def _as_understood(rule: Rule, written: dict[str, msgspec.Raw]) -> Rule:
    """What is not understood may narrow the rule: an allow then must not match, a deny must."""
    if written.keys() <= _RULE_FIELDS or rule.effect is Effect.DENY:
        return rule
    return msgspec.structs.replace(rule, topics=())


def _policy_of(outline: Outline, lines: Sequence[_Line], lines_written: int) -> Policy:
    permissions: dict[str, tuple[Rule, ...]] = {}
    principals: dict[str, Principal] = {}
    entries = 0
    for line in lines:
        permissions.update(line.permissions)
        principals.update(line.principals)
        entries += len(line.permissions) + len(line.principals)
    if entries != len(permissions) + len(principals) or len(lines) != lines_written:
        raise _malformed("a name must stand in one line only", "$")
    return Policy(**msgspec.structs.asdict(outline), permissions=permissions, principals=principals)


# Checking ------------------------------------------------------------------------------------------------------------


def _check_rule(rule: Rule, reference: str, path: str) -> None:
    if rule.permission != reference:
        raise _malformed("a rule must stand under its own permission", f"{path}.permission")
    if not rule.topics:
        raise _malformed("a rule needs at least one topic", f"{path}.topics")
    if not rule.qos or not set(rule.qos) <= set(QOS_LEVELS):
        raise _malformed("a rule needs at least one QoS, and knows 0, 1 and 2", f"{path}.qos")
    for position, template in enumerate(rule.topics):
        try:
            check_template(template)
        except TopicError as error:
            raise _malformed(str(error), f"{path}.topics[{position}]") from error


def _check_outline(policy: Policy) -> None:
    if policy.scram_salt_key and len(policy.scram_salt_key) != SALT_KEY_BYTES:
        raise _malformed(f"the key of the salts must have {SALT_KEY_BYTES} bytes", "$.scram_salt_key")
    _check_references(policy, policy.authenticated, "$.authenticated")
    _check_references(policy, policy.anonymous, "$.anonymous")


def _check_principal(policy: Policy, username: str, principal: Principal) -> None:
    path = f"$.principals[{username!r}]"
    if principal.username != username:
        raise _malformed("a principal must stand under its own user name", f"{path}.username")
    _check_references(policy, principal.permissions, f"{path}.permissions")
    for position, verifier in enumerate(principal.scram):
        if not policy.scram_salt_key:  # salts of user names that nobody has could be told from this one
            raise _malformed("a SCRAM verifier needs the key of the salts beside it", f"{path}.scram[{position}]")
        if not verifier.is_whole:
            problem = f"the keys are not as long as those of {verifier.mechanism}"
            raise _malformed(problem, f"{path}.scram[{position}]")


def _check_references(policy: Policy, references: Sequence[str], path: str) -> None:
    for position, reference in enumerate(references):
        if reference not in policy.permissions:
            raise _malformed("there is no such permission", f"{path}[{position}]")


def _malformed(problem: str, path: str) -> ValueError:
    return ValueError(f"the policy document is malformed: {problem} - at `{path}`")
