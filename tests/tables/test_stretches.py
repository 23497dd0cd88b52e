"""That a stretch of records says what the same records say one by one, and how little is done for a beat at rest."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.codec import RECORD_BYTES_MAX, DecodeError, decode_heartbeat, encode_heartbeat
from sdk.contract.heartbeats import Beat, Heartbeat, Tick
from tables.beats import Stored, apply_stretch
from tables.heard import decode_checkpoint, encode_checkpoint
from tables.silence import PartitionWatch
from tests.tables.plain_silence import PlainWatch
from tests.tables.test_fast_watch import _BEGIN_MS, _CALLS, _RECORDS, LONE, NODES, POLICY, _do, _knowledge

_GARBAGE = [
    None,
    b"",
    b"\xff",
    b'["b","service-db",0,7,8,0',
    b'["b","service-db",0,-7,8,0]',
    b'["b",1]',
    b"[]",
]


class Put(NamedTuple):
    """A record in a batch."""

    offset: int
    timestamp: int
    value: bytes | None


#: Beats of sources at rest, and what may come between them.
_BEATS = st.builds(
    Beat,
    source=st.sampled_from([*LONE, *LONE, NODES[0]]),
    epoch=st.sampled_from([0, 0, 0, 0, 5, 7]),
    number=st.integers(126, 130),
    sent_at_ms=st.just(0),
    expectation=st.sampled_from([0, 0, 0, 0, 15]),
)
_VALUES = st.one_of(
    _BEATS.map(encode_heartbeat),
    _BEATS.map(encode_heartbeat),
    _BEATS.map(encode_heartbeat),
    _RECORDS.map(lambda record: b"null" if record is None else encode_heartbeat(record)),
    st.just(encode_heartbeat(Tick("w", 1))),
    st.sampled_from(_GARBAGE),
)
_STEPS = st.tuples(
    st.sampled_from([0, 1, 250, 900, 1_001, 4_000, 60_000, -500]),
    st.lists(_VALUES, min_size=1, max_size=12) | _CALLS | st.just(("compared", "", 0)),
)


def _take_all(
    watch: PartitionWatch, puts: list[Put], append_ms: int | None
) -> Iterator[tuple[Stored, object]]:
    left = iter(puts)
    while met := apply_stretch(watch, left, append_ms, POLICY):
        yield met


def _decoded(value: bytes | None) -> Heartbeat | DecodeError:
    try:
        return decode_heartbeat(value)
    except DecodeError as error:
        return error


def _call(watch: PartitionWatch, what: str, source: str, number: int) -> None:
    if source:
        _do(watch, what, source, number)
    else:
        watch.compared(set(watch.heard))


@settings(max_examples=150)
@given(
    steps=st.lists(_STEPS, min_size=10, max_size=40),
    cut=st.integers(0, 40),
    back=st.integers(0, 5),
    own_times=st.booleans(),
)
def test_stretch_says_what_single_records_say(
    steps: list[tuple[int, object]], cut: int, back: int, own_times: bool
) -> None:
    """After every batch both watches know the same, whatever was read twice, saved, or has its own append time."""
    fast, plain = PartitionWatch(0, begin=0), PlainWatch(0, begin=0)
    at_ms, offset = _BEGIN_MS, 0
    for place, (step_ms, what) in enumerate(steps):
        at_ms += step_ms
        if isinstance(what, tuple):
            for watch in (fast, plain):
                _call(watch, *what)
        else:
            assert isinstance(what, list)
            puts = [Put(offset + index, at_ms, value) for index, value in enumerate(what)]
            offset += len(puts)
            expected = []
            for put in puts:
                heard = _decoded(put.value)
                is_garbage = isinstance(heard, DecodeError)
                plain.apply(put.offset, put.timestamp, None if is_garbage else heard, POLICY)  # type: ignore[arg-type]
                if isinstance(heard, DecodeError | Tick):
                    expected.append((put.offset, str(heard)))
            # A batch may begin before where reading goes on.
            earlier = [
                Put(at, at_ms, b"garbage") for at in range(max(0, puts[0].offset - back), puts[0].offset)
            ]
            met = _take_all(fast, earlier + puts, None if own_times else at_ms)
            assert [(record.offset, str(it)) for record, it in met] == expected
        if place == cut:
            saved = encode_checkpoint(fast.dump())
            fast = PartitionWatch.load(decode_checkpoint(saved), POLICY)
        assert fast.next_offset == plain.next_offset
        assert _knowledge(fast) == _knowledge(plain)
        for name, session in fast.quiet.items():
            assert session is None or session is fast.sessions[name]


def test_beat_at_rest_is_not_applied_but_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the beats of a source at rest only the first of an append time and one of 128 go the whole way."""
    watch = PartitionWatch(0, begin=0)
    watch.apply(0, _BEGIN_MS, Beat(LONE[0], 0, 1, 0), POLICY)
    watch.compared({LONE[0]})
    applied: list[int] = []
    apply = PartitionWatch.apply

    def note(self: PartitionWatch, offset: int, *args: object) -> None:
        applied.append(offset)
        apply(self, offset, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PartitionWatch, "apply", note)
    beats = [Put(at, _BEGIN_MS + 100, encode_heartbeat(Beat(LONE[0], 0, at, 0))) for at in range(1, 200)]
    assert apply_stretch(watch, iter(beats), _BEGIN_MS + 100, POLICY) is None

    # That of the 128th has it compared; while it waits for that its beats are only noted.
    assert applied == [1, 128]
    assert watch.heard == {LONE[0]}
    assert (watch.clock_ms, watch.sessions[LONE[0]].last_offset, watch.next_offset) == (100, 199, 200)


def test_beat_that_is_too_long_is_none() -> None:
    """Also of a source at rest: a record over the limit is refused before it is decoded."""
    watch = PartitionWatch(0, begin=0)
    watch.apply(0, _BEGIN_MS, Beat(LONE[0], 0, 1, 0), POLICY)
    watch.compared({LONE[0]})
    value = encode_heartbeat(Beat(LONE[0], 0, 2, 0)) + b" " * RECORD_BYTES_MAX
    met = apply_stretch(watch, iter([Put(1, _BEGIN_MS, value)]), _BEGIN_MS, POLICY)

    assert met is not None
    assert str(met[1]) == f"heartbeat of {len(value)} bytes, at most {RECORD_BYTES_MAX}"
    assert (watch.sessions[LONE[0]].last_offset, watch.next_offset) == (0, 2)


def test_silent_source_comes_back_within_a_stretch() -> None:
    """A tick that closes a session ends the rest of its source: the next beat takes the verdict back."""
    watch = PartitionWatch(0, begin=0)
    watch.apply(0, _BEGIN_MS, Beat(LONE[0], 0, 1, 0), POLICY)
    watch.compared({LONE[0]})
    at_ms = _BEGIN_MS
    for offset in range(1, 21):
        at_ms += 1_000
        watch.apply(offset, at_ms, Beat(LONE[1], 0, offset, 0), POLICY)
    tick, beat = encode_heartbeat(Tick("w", 1)), encode_heartbeat(Beat(LONE[0], 0, 2, 0))
    left = iter([Put(21, at_ms, tick), Put(22, at_ms, beat)])
    assert apply_stretch(watch, left, at_ms, POLICY) is not None
    assert watch.silent[LONE[0]].until_offset == 21
    assert apply_stretch(watch, left, at_ms, POLICY) is None

    assert LONE[0] not in watch.silent
    assert LONE[0] in watch.heard
