"""The policy as a document: JSON that travels from the one who compiles it to the nodes.

Knows how to refuse what is not a policy, and how to read one of a newer version without granting too much; does not
know files, stores or who writes.
"""

from collections.abc import Mapping

import msgspec

from mqtt_api.policy_values import Effect, Policy, Principal, Rule
from mqtt_api.rule_set import QOS_LEVELS
from mqtt_api.scram import SALT_KEY_BYTES
from mqtt_api.templates import check_template
from mqtt_api.topics import TopicError

_RULE_FIELDS = frozenset(Rule.__struct_fields__)


class _RuleFields(msgspec.Struct):
    """The same document again, for the names of the fields that its rules were written with."""

    rules: tuple[dict[str, msgspec.Raw], ...] = ()


class _Outline(msgspec.Struct, forbid_unknown_fields=True):
    """A policy whose principals are not decoded: most of them are as they were in the last document."""

    revision: int = 0
    digest: str = ""
    default_effect: Effect = Effect.DENY
    rules: tuple[Rule, ...] = ()
    principals: dict[str, msgspec.Raw] = {}
    scram_salt_key: bytes = b""
    authenticated: tuple[int, ...] = ()
    anonymous: tuple[int, ...] = ()


_encoder = msgspec.json.Encoder(order="sorted")
_policies = msgspec.json.Decoder(Policy)
_outlines = msgspec.json.Decoder(_Outline)
_principals = msgspec.json.Decoder(Principal)
_rule_fields = msgspec.json.Decoder(_RuleFields)


def encode_policy(policy: Policy) -> bytes:
    """JSON, sorted and compact: the file or value that carries the policy to nodes. Equal policies give equal bytes."""
    return _encoder.encode(policy)


def decode_policy(data: bytes) -> Policy:
    """Raises ValueError with the field's path when the document is not a policy; the caller keeps the one it has.

    A rule may hold fields that this version does not know. Then an allow keeps its place but names no topic any more,
    and a deny stands as far as it is understood, which is wider than it was meant.
    """
    return PolicyDecoder().decode(data)


class PolicyDecoder:
    """`decode_policy` for one document after the other: of the next only what changed is decoded and checked.

    What did not change is the same object in both policies. Keeps the last document in memory. Not thread-safe.
    """

    def __init__(self) -> None:
        self._policy = Policy()
        self._written: dict[str, msgspec.Raw] = {}

    def decode(self, data: bytes) -> Policy:
        """As `decode_policy`, which it is equal to for every document. After an error it goes on as before."""
        outline, fields = _read(data)
        try:
            principals = self._principals(outline.principals)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(data, error) from error
        policy = Policy(
            revision=outline.revision,
            digest=outline.digest,
            default_effect=outline.default_effect,
            rules=outline.rules,
            principals=principals,
            scram_salt_key=outline.scram_salt_key,
            authenticated=outline.authenticated,
            anonymous=outline.anonymous,
        )
        _check_rules(policy)
        unchecked = self._unchecked(policy)
        _check_references(policy, unchecked)
        _check_scram(policy, unchecked)
        rules = tuple(_as_understood(rule, names) for rule, names in zip(policy.rules, fields, strict=True))
        self._policy = msgspec.structs.replace(policy, rules=self._known_rules(rules))
        self._written = outline.principals
        return self._policy

    def _principals(self, written: dict[str, msgspec.Raw]) -> dict[str, Principal]:
        known, known_written = self._policy.principals, self._written
        return {
            username: known[username] if known_written.get(username) == raw else _principals.decode(raw)
            for username, raw in written.items()
        }

    def _known_rules(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        known = self._policy.rules
        return tuple(old if old == new else new for old, new in zip(known, rules, strict=False)) + rules[len(known) :]

    def _unchecked(self, policy: Policy) -> dict[str, Principal]:
        """Whom the checks of the last document do not hold for."""
        before = self._policy
        has_lost_key = before.scram_salt_key and not policy.scram_salt_key
        if has_lost_key or len(policy.rules) < len(before.rules):
            return dict(policy.principals)
        known = before.principals
        return {name: principal for name, principal in policy.principals.items() if known.get(name) is not principal}


def _read(data: bytes) -> "tuple[_Outline, tuple[dict[str, msgspec.Raw], ...]]":
    try:
        return _outlines.decode(data), _rule_fields.decode(data).rules
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(data, error) from error


def _unreadable(data: bytes, error: Exception) -> ValueError:
    """With the path from the document's root, which a part decoded alone does not know."""
    try:
        _policies.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as whole:
        error = whole
    return ValueError(f"the policy document is malformed: {error}")


def _as_understood(rule: Rule, written: dict[str, msgspec.Raw]) -> Rule:
    """What is not understood may narrow the rule: an allow then must not match, a deny must."""
    if written.keys() <= _RULE_FIELDS or rule.effect is Effect.DENY:
        return rule
    return msgspec.structs.replace(rule, topics=())  # dropped in place, for principals name rules by index


def _check_rules(policy: Policy) -> None:
    for number, rule in enumerate(policy.rules):
        path = f"$.rules[{number}]"
        if not rule.topics:
            raise _malformed("a rule needs at least one topic", f"{path}.topics")
        if not rule.qos or not set(rule.qos) <= set(QOS_LEVELS):
            raise _malformed("a rule needs at least one QoS, and knows 0, 1 and 2", f"{path}.qos")
        for position, template in enumerate(rule.topics):
            try:
                check_template(template)
            except TopicError as error:
                raise _malformed(str(error), f"{path}.topics[{position}]") from error


def _check_references(policy: Policy, principals: Mapping[str, Principal]) -> None:
    lists = {"$.authenticated": policy.authenticated, "$.anonymous": policy.anonymous}
    for username, principal in principals.items():
        path = f"$.principals[{username!r}]"
        if principal.username != username:
            raise _malformed("a principal must stand under its own user name", f"{path}.username")
        lists[f"{path}.rules"] = principal.rules
    for path, indexes in lists.items():
        for position, index in enumerate(indexes):
            if not 0 <= index < len(policy.rules):
                raise _malformed(f"there is no rule {index}", f"{path}[{position}]")


def _check_scram(policy: Policy, principals: Mapping[str, Principal]) -> None:
    has_key = bool(policy.scram_salt_key)
    if has_key and len(policy.scram_salt_key) != SALT_KEY_BYTES:
        raise _malformed(f"the key of the salts must have {SALT_KEY_BYTES} bytes", "$.scram_salt_key")
    for username, principal in principals.items():
        for position, verifier in enumerate(principal.scram):
            path = f"$.principals[{username!r}].scram[{position}]"
            if not has_key:  # salts of user names that nobody has could be told from this one
                raise _malformed("a SCRAM verifier needs the key of the salts beside it", path)
            if not verifier.is_whole:
                raise _malformed(f"the keys are not as long as those of {verifier.mechanism}", path)


def _malformed(problem: str, path: str) -> ValueError:
    return ValueError(f"the policy document is malformed: {problem} - at `{path}`")
