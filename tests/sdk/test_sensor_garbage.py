"""Dead letters of an app about its sensors: once for each record, and not more than can be of use."""

from typing import NamedTuple

import pytest

from sdk import sensor_garbage
from sdk.contract.letters import decode_letter
from sdk.outbox import Letter
from sdk.sensor_garbage import LETTERS_PER_MINUTE, SensorGarbage


class _Record(NamedTuple):
    topic: str
    offset: int
    partition: int = 0
    key: bytes | None = None
    value: bytes | None = b"garbage("


class _Box:
    """An outbox that keeps what it is given."""

    def __init__(self, *_: object, **__: object) -> None:
        self.letters: list[Letter] = []

    def put(self, letter: Letter) -> None:
        self.letters.append(letter)

    def close(self, within_s: float) -> bool:
        return within_s > 0


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> _Box:
    """What stands in place of the way to Kafka."""
    box = _Box()
    monkeypatch.setattr(sensor_garbage, "Outbox", lambda *_, **__: box)
    return box


def test_each_record_is_written_about_once(box: _Box) -> None:
    """With the place and the reason, whoever of the program's readers meets it again."""
    garbage = SensorGarbage("127.0.0.1:1", "watchkeep", writer="app/application-1")
    for _ in range(2):
        garbage.meet(_Record("hall", 7), "it is no value")
    garbage.meet(_Record("hall", 8, value=None), "it is empty")

    first, second = (decode_letter(letter.encode(letter.body)) for letter in box.letters)
    assert (first.topic, first.partition, first.offset, first.reason) == ("hall", 0, 7, "it is no value")
    assert (first.writer, first.size, second.size) == ("app/application-1", 8, 0)
    assert box.letters[0].key == b"hall/0/7"
    assert box.letters[0].topic == "watchkeep.dead-letters.v1"
    assert garbage.counts == {"hall": 2}


def test_a_device_that_writes_nothing_else_is_counted_and_not_written_about_for_ever(box: _Box) -> None:
    """Each topic has its own share of letters."""
    garbage = SensorGarbage("127.0.0.1:1", "watchkeep", writer="app/application-1")
    for offset in range(LETTERS_PER_MINUTE + 5):
        garbage.meet(_Record("mad", offset), "it is no value")
    garbage.meet(_Record("hall", 1), "it is no value")

    assert len(box.letters) == LETTERS_PER_MINUTE + 1
    assert (garbage.counts["mad"], garbage.unwritten) == (LETTERS_PER_MINUTE + 5, 5)
