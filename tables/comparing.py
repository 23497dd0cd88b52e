"""Whom of a partition the next comparison with the log is about. Pure; part of `tables.silence`.

Rules:
1. Who was heard is compared until the log lacks nothing of what it said; then it is quiet, and while it goes on as
   before it is not compared again.
2. A row that a comparison goes by, or anything but a beat of its epoch, ends the quiet. After a row has changed the
   next record is compared too, because what a record may say goes by its offset.
3. Of who is quiet, or is to be compared anyway, a beat of its epoch changes the time of its session and nothing else:
   `tables.beats` only notes it.
"""

from tables.heard import Session, Verdict

#: A set keeps the size that it once had, and every turn would go through the empty places of a million. One that has
#: shrunk to so many is made anew: as many as a turn compares.
FEW = 4_000


class Comparing:
    """The sources of a partition, and who of them is to be compared."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.silent: dict[str, Verdict] = {}
        #: Source -> offset at which waiting for it begins, where that lies ahead of what was read.
        self.ahead: dict[str, int] = {}
        #: Reporters and lone sources of whom something is to be compared with the log.
        self.heard: set[str] = set()
        self._most_heard = 0
        #: Those whose last comparison found nothing to say, with the session of whoever a beat of its epoch changes
        #: nothing of but its time.
        self.quiet: dict[str, Session | None] = {}
        #: Those whose rows changed since their last record: the next one is compared too, before they may be quiet.
        self._stirred: set[str] = set()

    def stir(self, source: str) -> None:
        """A row that a comparison of `source` goes by has changed: compare what it said, and what it says next."""
        self.quiet.pop(source, None)
        self._stirred.add(source)
        self.heard.add(source)

    def compared(self, done: set[str]) -> None:
        """The log lacks nothing of what these said."""
        self._most_heard = max(self._most_heard, len(self.heard))
        self.heard -= done
        if len(self.heard) <= FEW < self._most_heard:
            self.heard, self._most_heard = set(self.heard), 0
        for source in done - self._stirred:
            session = self.sessions.get(source)
            # The name that is there already: another one for each of a million is memory to hold and to look through.
            name = source if session is None else session.source
            self.quiet[name] = self._resting(name)

    def _link(self, source: str) -> None:
        """Say with a source, if it is quiet, whether a beat changes nothing of it but its time."""
        if source in self.quiet:
            self.quiet[source] = self._resting(source)

    def _resting(self, source: str) -> Session | None:
        session = self.sessions.get(source)
        rests = session is not None and session.bridging is None and source not in self.silent
        return session if rests and source not in self.ahead else None

    def waiting(self, source: str) -> Session | None:
        """The session of one that is to be compared anyway, if a beat of its epoch changes nothing but its time."""
        return None if source not in self.heard or source in self._stirred else self._resting(source)
