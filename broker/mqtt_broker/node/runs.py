"""A run on its way out: messages that differ in nothing but their payloads, to receivers that are connected here.

Knows forms and outlets; does not know where a run comes from, who decided it, or the store. Whoever can take it whole
gets one write; who cannot is offered message by message, as by the slow road.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mqtt_broker.node.forms import Form
from mqtt_broker.node.outlet import Delivery, Outlet
from mqtt_broker.session.message import Message

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub
    from mqtt_broker.node.live import LiveSession


def hand_out(hub: "Hub", template: Message, forms: Iterable[Form], payloads: list[bytes]) -> int:
    """`payloads`, all of one length, to the sessions of these forms: how many copies left at once.

    `template` is each message but for its payload. What is decided by now counts: the caller has seen to that.
    """
    sent, count, size = 0, len(payloads), len(payloads[0])
    for form in forms:
        head = form.head(size)
        frame_bytes = form.frame_bytes(head, size)
        if form.qos:
            for session in form.sessions:
                sent += _send_qos1(hub, template, form, session, head, frame_bytes, payloads)
            continue
        before = head + form.after_id
        frames = before + before.join(payloads)
        for session in form.sessions:
            outlet = session.outlet
            if outlet is None:
                continue  # offline: nothing is promised to QoS 0
            if outlet.forward_qos0(frames, frame_bytes):
                sent += count
            else:
                offer(hub, template, form, outlet, payloads)
    return sent


def _send_qos1(
    hub: "Hub",
    template: Message,
    form: Form,
    session: "LiveSession",
    head: bytes,
    frame_bytes: int,
    payloads: list[bytes],
) -> int:
    """As many as the window takes at once, which it returns; the rest waits in the outlet like everybody's."""
    outlet = session.outlet
    if outlet is None:
        return 0
    ids = outlet.begin_forgettable(len(payloads), frame_bytes)
    if ids:
        outlet.forward_qos1(form.frames(head, ids, payloads), frame_bytes)
    if len(ids) < len(payloads):
        offer(hub, template, form, outlet, payloads[len(ids) :])
    return len(ids)


def offer(hub: "Hub", template: Message, form: Form, outlet: Outlet, payloads: list[bytes]) -> None:
    """The outlet is not idle: these wait in it, as the slow road's would."""
    if not form.qos and outlet.refuses_qos0:
        outlet.refuse(len(payloads))
        return
    take = outlet.offer if form.qos else outlet.offer_qos0
    for payload in payloads:
        message = Message(
            topic=template.topic,
            payload=payload,
            qos=template.qos,
            properties=template.properties,
            publisher=template.publisher,
            username=template.username,
        )
        take(
            Delivery(
                message=message,
                qos=form.qos,
                retain=False,
                identifiers=form.identifiers,
                decided_under=hub.decisions,
            )
        )
