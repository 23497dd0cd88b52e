"""Admission of answers to notifications. Pure; part of `tables.admit`."""

from sdk.contract.events import NotificationAcknowledged, NotificationCleared
from sdk.contract.notifications import check_app, check_key
from sdk.contract.requests import AcknowledgeNotification, ClearNotification
from tables.fold_notifications import answer_fault
from tables.state import State

#: Longest name of who answers.
BY_LENGTH_MAX = 100


class AnswerRefusalError(ValueError):
    """An answer that does not count; the text is for the asker."""


def acknowledge(state: State, request: str, wish: AcknowledgeNotification) -> NotificationAcknowledged:
    """What is open can be acknowledged, by one."""
    _check(wish)
    event = NotificationAcknowledged(request, wish.app, wish.key, wish.number, wish.by)
    if fault := answer_fault(state, event):
        raise AnswerRefusalError(fault)
    return event


def clear(state: State, request: str, wish: ClearNotification) -> NotificationCleared:
    """What is not cleared can be, acknowledged or not."""
    _check(wish)
    event = NotificationCleared(request, wish.app, wish.key, wish.number, wish.by)
    if fault := answer_fault(state, event):
        raise AnswerRefusalError(fault)
    return event


def _check(wish: AcknowledgeNotification | ClearNotification) -> None:
    check_app(wish.app)
    check_key(wish.key)
    if len(wish.by) > BY_LENGTH_MAX or not (wish.by.isprintable() or not wish.by):
        raise AnswerRefusalError(
            f"by: {wish.by!r:.60} has control characters or over {BY_LENGTH_MAX} letters"
        )
