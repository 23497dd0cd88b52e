"""Old versions of events are read as what they would be today."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.contract.codec import DecodeError, decode_event
from sdk.contract.events import EVENT_TYPES, AppPlaced
from sdk.contract.upcasts import UPCASTS, upcast
from tests.contract.samples import SAMPLES, read_golden


@pytest.mark.parametrize("name", read_golden("events-v1"))
def test_golden_bytes_of_an_old_version_are_read(name: str) -> None:
    """As the sample of today that has their name."""
    recorded = decode_event(read_golden("events-v1")[name])
    assert recorded.event == SAMPLES["events"][name]
    assert recorded.type in EVENT_TYPES


def test_every_old_version_has_golden_bytes_and_a_way_to_now() -> None:
    """Steps lead to what is written today, and nobody writes an old version any more."""
    kept = {json.loads(value)["type"] for value in read_golden("events-v1").values()}
    assert kept == set(UPCASTS)
    for old in UPCASTS:
        assert old not in EVENT_TYPES
        assert upcast(old, {})[0] in EVENT_TYPES


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(data=_ANY, name=st.sampled_from(sorted(UPCASTS)))
def test_garbage_of_an_old_version_is_garbage(data: object, name: str) -> None:
    """A step fails on nothing, and what it gives is checked as everything is."""
    document = {"id": "a", "type": name, "source": "b", "subject": "c", "time": "d", "data": data}
    with pytest.raises(DecodeError, match="placed"):
        decode_event(json.dumps(document).encode())


def test_what_a_step_leaves_is_what_the_next_version_says() -> None:
    """The free slots are gone, everything else is as it was."""
    event = decode_event(read_golden("events-v1")["app-placed"]).event
    assert isinstance(event, AppPlaced)
    assert (event.replaces, event.reason, event.ranking) == (12, "node-down", [])
