"""Lone sources that went away for good are forgotten on request, and watched again when they beat again."""

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.requests import ForgetSource
from tables.admit import admit
from tables.rows import SourceRow
from tables.state import State
from tables.views import ViewKey, render
from tests.tables.entries import Entry, fold_entry

_SILENT = e.SourceFellSilent("service-scheduler", "lone", 0, "topic", 1, 5, 60, 10_020, 10_000)
_BACK = e.SourceReturned("service-scheduler", "lone", 0, "topic", 1, 90)


def _state(*, silent: bool) -> State:
    """A state that knows one lone source."""
    state = State()
    state.put("sources", "service-scheduler", SourceRow("service-scheduler", "lone", 1, 5, 1_000))
    if silent:
        fold_entry(state, Entry(1, 2_000, _SILENT))
    return state


def test_a_silent_lone_source_is_forgotten() -> None:
    """Its row and its line among the monitored are gone."""
    state = _state(silent=True)

    event = admit(state, Asked("request-1", ForgetSource("service-scheduler")))
    fold_entry(state, Entry(2, 3_000, event))

    assert isinstance(event, e.SourceForgotten)
    assert state.sources == {}
    assert render(state, ViewKey("monitoring", "service-scheduler")) is None


def test_a_forgotten_source_that_beats_again_is_watched_again() -> None:
    """To forget is no ban."""
    state = _state(silent=True)
    fold_entry(state, Entry(2, 3_000, e.SourceForgotten("request-1", "service-scheduler")))

    fold_entry(state, Entry(3, 4_000, _BACK))

    assert not state.sources["service-scheduler"].silent


def test_a_living_source_is_not_forgotten() -> None:
    """Who beats is refused with a reason, and the fold would not take it either."""
    state = _state(silent=False)

    answer = admit(state, Asked("request-1", ForgetSource("service-scheduler")))
    fold_entry(state, Entry(2, 3_000, e.SourceForgotten("request-2", "service-scheduler")))

    assert isinstance(answer, e.RequestRefused)
    assert "is alive" in answer.reason
    assert "service-scheduler" in state.sources
