"""How much one turn compares with the log, when more waits than the loop may be held for. Pure.

Rules:
1. A turn compares at most `UNITS`; whoever is left is looked at in the turns after it, before anybody is looked at
   again. So nobody starves, however many there are of whom something is still to be read back.
2. Fewer than that, which is all of any platform of usual size, are looked at in every turn.
3. Nothing is concluded otherwise than at once: facts are level-triggered.
"""

from collections.abc import Collection
from itertools import islice

#: Comparisons of a turn: of one app in a report, 3 us each, so that they take about 12 ms. The loop may be held for 50,
#: and reading, a checkpoint and what the planner does may come together with them.
UNITS = 4_000
#: What a source that is silent costs: a fact is made of it and its id is hashed.
SILENT_UNITS = 5


class Slices:
    """Whom the turns have looked at since all were looked at."""

    def __init__(self) -> None:
        self._left = 0
        #: Not all were looked at in this turn.
        self.is_over = False
        self._heard: set[str] = set()
        self._silent: set[str] = set()

    def begin(self) -> None:
        """A turn begins."""
        self._left, self.is_over = UNITS, False

    def end(self) -> None:
        """A turn ends: if everybody has been looked at, all begin anew."""
        if not self.is_over:
            self._heard.clear()
            self._silent.clear()

    def heard(self, waiting: Collection[str]) -> list[str]:
        """Who is to be looked at of those who were heard, in their order."""
        return _in_turn(waiting, self._heard)

    def silent(self, waiting: Collection[str]) -> list[str]:
        """The same of those who are silent."""
        return _in_turn(waiting, self._silent)

    def may_compare(self, source: str, apps: int) -> bool:
        """Whether there is time left in this turn to compare a source that was heard, with its apps."""
        return self._may_look(source, 1 + apps, self._heard)

    def may_accuse(self, source: str) -> bool:
        """The same of one that is silent."""
        return self._may_look(source, SILENT_UNITS, self._silent)

    def _may_look(self, source: str, units: int, looked: set[str]) -> bool:
        if self._left <= 0:
            self.is_over = True
            return False
        self._left -= units
        looked.add(source)
        return True


def _in_turn(waiting: Collection[str], looked: set[str]) -> list[str]:
    left = (source for source in waiting if source not in looked) if looked else waiting
    # One more than fits shows that it did not; which of very many come first does not matter.
    return sorted(islice(left, UNITS + 1))
