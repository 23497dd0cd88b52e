"""Fold of hashes of the fold. Pure; part of `tables.fold`. They change nothing: who checks them folds by himself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sdk.contract.events import Event, FoldHashed
from tables.fold_nodes import term_fault
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def _hashed(state: State, event: FoldHashed, _meta: "Meta") -> str:
    return term_fault(state, event.term)


HASH_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {FoldHashed: _hashed}
