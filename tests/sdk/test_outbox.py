"""The buffer before Kafka: order, at least once, bounds, floods, and its end."""

import threading
import time
from typing import Any

import pytest

from sdk.outbox import Letter, Outbox, Outcome
from sdk.outbox_errors import OutboxFullError


class Box:
    """A post that can be away, and lets letters arrive twice."""

    goal = "the box"

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.changed = threading.Condition()
        self.is_away = False
        self.fails_after_arrival = 0
        self.tries = 0

    def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:  # noqa: ARG002
        """Take it, unless away."""
        with self.changed:
            self.tries += 1
            self.changed.notify_all()
            if self.is_away:
                raise OSError("away")
            self.arrived.append(value)
            if self.fails_after_arrival:
                self.fails_after_arrival -= 1
                raise OSError("no answer")

    def close(self) -> None:
        """Nothing is open."""

    def await_tries(self, number: int) -> None:
        """Wait until that often something was sent."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.tries >= number, 10)


def letter(text: str, **more: Any) -> Letter:
    """A letter that says `text`."""
    return Letter("topic", b"key", text.encode(), **more)


def test_letters_arrive_in_order_and_end_as_sent() -> None:
    """Each once, in the order they were put in."""
    box, ends = Box(), list[Outcome]()
    with Outbox(box) as outbox:
        for number in range(50):
            outbox.put(letter(str(number), ended=ends.append))
    assert box.arrived == [str(number).encode() for number in range(50)]
    assert ends == ["sent"] * 50


def test_an_outage_keeps_order_and_loses_nothing() -> None:
    """What is put in while Kafka is away arrives afterwards."""
    box = Box()
    box.is_away = True
    with Outbox(box) as outbox:
        for number in range(5):
            outbox.put(letter(str(number)))
        box.await_tries(2)
        assert outbox.waiting == 5
        box.is_away = False
    assert box.arrived == [b"0", b"1", b"2", b"3", b"4"]


def test_a_letter_without_an_answer_comes_again_before_the_next() -> None:
    """At least once, never out of order."""
    box = Box()
    box.fails_after_arrival = 1
    with Outbox(box) as outbox:
        outbox.put(letter("a"))
        outbox.put(letter("b"))
    assert box.arrived == [b"a", b"a", b"b"]


def test_a_full_outbox_drops_its_oldest_and_counts() -> None:
    """The newest are kept."""
    box, ends = Box(), dict[str, Outcome]()
    box.is_away = True
    outbox = Outbox(box, size=2)
    outbox.put(letter("under way"))
    box.await_tries(1)
    for text in ("a", "b", "c", "d"):
        outbox.put(letter(text, ended=lambda outcome, text=text: ends.__setitem__(text, outcome)))
    assert (outbox.dropped, outbox.waiting) == (2, 3)
    assert ends == {"a": "dropped", "b": "dropped"}
    box.is_away = False
    assert outbox.close()
    assert box.arrived == [b"under way", b"c", b"d"]


def test_a_full_outbox_that_refuses_says_so_and_keeps_what_it_has() -> None:
    """The author chose to be told."""
    box = Box()
    box.is_away = True
    outbox = Outbox(box, size=1, when_full="refuse")
    outbox.put(letter("under way"))
    box.await_tries(1)
    outbox.put(letter("a"))
    with pytest.raises(OutboxFullError, match="1 letters wait for the box"):
        outbox.put(letter("b"))
    assert outbox.dropped == 0
    box.is_away = False
    assert outbox.close()
    assert box.arrived == [b"under way", b"a"]


def test_letters_of_one_slot_become_one_while_they_wait() -> None:
    """A flood is one letter with a count."""
    box = Box()
    box.is_away = True
    outbox = Outbox(box)
    outbox.put(letter("first", slot="door"))
    box.await_tries(1)
    for count in range(100):
        outbox.put(
            Letter("topic", b"key", 1, lambda body: str(body).encode(), slot="door"),
            merge=lambda old, new: old + new,
        )
        assert outbox.waiting == 2, count
    box.is_away = False
    assert outbox.close()
    assert box.arrived == [b"first", b"100"]


def test_a_letter_whose_time_is_over_is_not_sent() -> None:
    """Nobody wants it any more."""
    box, ends = Box(), list[Outcome]()
    with Outbox(box) as outbox:
        outbox.put(letter("late", until_s=time.monotonic() - 1, ended=ends.append))
        outbox.put(letter("in time"))
    assert (box.arrived, ends) == ([b"in time"], ["expired"])


def test_close_while_the_post_is_away_ends_within_its_bound() -> None:
    """What is not sent has not ended, and nothing more is taken."""
    box, ends = Box(), list[Outcome]()
    box.is_away = True
    outbox = Outbox(box)
    outbox.put(letter("a", ended=ends.append))
    box.await_tries(1)
    assert not outbox.close(within_s=0.05)
    assert ends == []
    with pytest.raises(RuntimeError, match="closed"):
        outbox.put(letter("b"))


@pytest.mark.parametrize(
    ("arguments", "says"), [({"size": 0}, "size: 0"), ({"when_full": "x"}, "when_full: 'x'")]
)
def test_wrong_settings_are_named(arguments: dict[str, Any], says: str) -> None:
    """Name, value and what is allowed."""
    with pytest.raises(ValueError, match=says):
        Outbox(Box(), **arguments)
