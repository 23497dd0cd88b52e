"""The hash of a state: one number for all rows, the same for whoever folded the same log. Pure.

1. It is the sum, modulo 2^256, of the SHA-256 of each row with its table and key, hashed once more together with the
   offset and the time of the fold. A sum does not care in which order rows came, and a row that changed is taken out
   and put in again without looking at the others.
2. A row is hashed as JSON with sorted keys and without fields that have their default: a field or a table that is
   added later does not change the hash of an old log.
3. It finds a fold that went another way, by mistake or by chance. It is no signature: nobody keeps a secret.
"""

import hashlib

import msgspec

from tables.rows import Row
from tables.state import State

_encode = msgspec.json.Encoder(order="deterministic").encode
_MODULUS = 1 << 256


class Digest:
    """The hash of one state, kept up to date from the rows that change."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changed = state.listen()
        self._rows: dict[tuple[str, str], int] = {}
        self._sum = 0
        self._changed.update((table, key) for table, key, _ in state.all_rows())

    def take(self) -> str:
        """The hash as of the state's offset, as 64 hexadecimal digits."""
        for table, key in self._changed:
            row = self._state.tables[table].get(key)
            self._sum -= self._rows.pop((table, key), 0)
            if row is not None:
                number = _hash_of(table, key, row)
                self._rows[table, key] = number
                self._sum += number
        self._changed.clear()
        self._sum %= _MODULUS
        return _close(self._sum, self._state)


def digest_of(state: State) -> str:
    """The hash of a state, computed from all of its rows."""
    total = sum(_hash_of(table, key, row) for table, key, row in state.all_rows())
    return _close(total % _MODULUS, state)


def _hash_of(table: str, key: str, row: Row) -> int:
    content = b"\0".join((table.encode(), key.encode(), _encode(row)))
    return int.from_bytes(hashlib.sha256(content).digest(), "big")


def _close(total: int, state: State) -> str:
    return hashlib.sha256(b"%d/%d/%064x" % (state.offset, state.now_ms, total)).hexdigest()
