"""Names and tags: the same for the same order, different for everybody else, and such that every cloud takes them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agents.machines import NAME_CHARACTERS_MAX, Naming

words = st.text(min_size=1, max_size=80)
orders = st.integers(0, 2**63 - 1)


@given(words, words, words, orders)
def test_names_are_taken_by_every_cloud(prefix: str, pool: str, owner: str, order: int) -> None:
    """Lower-case letters, digits and hyphens, a letter first, at most 63: the rule of GCE and of host names."""
    naming = Naming(prefix=prefix, pool=pool, owner=owner)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])", naming.name_of(order))
    assert len(naming.name_of(order)) <= NAME_CHARACTERS_MAX
    for key, value in naming.tags_of(order).items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@given(words, words, words, orders)
def test_order_is_read_back(prefix: str, pool: str, owner: str, order: int) -> None:
    """From the tags, and from the name alone."""
    naming = Naming(prefix=prefix, pool=pool, owner=owner)
    name = naming.name_of(order)
    for tags in (naming.tags_of(order), {}):
        assert naming.is_ours(name, tags)
        assert naming.order_of(name, tags) == order
    assert naming.owner_of_part(f"{name}-nic") == name
    assert naming.owner_of_part(f"{name}0-nic") != name


@given(words, words, words, words, orders)
def test_others_are_not_ours(prefix: str, pool: str, owner: str, other: str, order: int) -> None:
    """Another owner, or another pool of the same, has other names and tags."""
    ours = Naming(prefix=prefix, pool=pool, owner=owner)
    for theirs in (
        Naming(prefix=prefix, pool=pool, owner=f"{owner}{other}"),
        Naming(prefix=prefix, pool=f"{pool}{other}", owner=owner),
    ):
        assert not ours.is_ours(theirs.name_of(order), theirs.tags_of(order))
        assert ours.owner_of_part(f"{theirs.name_of(order)}-nic") == ""


def test_strange_machine_of_ours_has_no_order() -> None:
    """Our owner with an unreadable order: ours all the same, and of no order."""
    naming = Naming(prefix="watchkeep", pool="cloud", owner="someone")
    key, value = naming.owner_tag
    assert naming.is_ours("whatever", {key: value})
    assert naming.order_of("whatever", {key: value, "watchkeep-order": "eighty"}) == -1
