"""Ids: what a name may be, and what is derived."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.contract.ids import (
    NAME_LENGTH_MAX,
    app_id,
    check_name,
    derive_fraction,
    derive_id,
    node_id,
    pool_id,
    service_id,
    split_node_id,
)

_PART = st.one_of(st.integers(), st.text(alphabet="ab-_", max_size=4))


@pytest.mark.parametrize("name", ["a", "A1", "pump.2_b-c", "9", "x" * NAME_LENGTH_MAX])
def test_good_names_are_kept(name: str) -> None:
    """A name of letters, digits, dot, underscore and hyphen may stand in an id."""
    assert check_name(name, what="pool") == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "a b", "a/b", "ü", "a\n", "\x00", "x" * (NAME_LENGTH_MAX + 1)]
)
def test_bad_names_are_refused(name: str) -> None:
    """Any other name is refused with a sentence that says what is allowed."""
    with pytest.raises(ValueError, match=r"pool .* is not a name: 1 to 100"):
        check_name(name, what="pool")


def test_ids_name_their_kind() -> None:
    """Each id begins with what it is the id of."""
    ids = [app_id("pump"), service_id("db"), pool_id("home"), node_id("10.0.0.1", 81)]
    assert ids == ["application-pump", "service-db", "pool-home", "node-10.0.0.1_81"]


@pytest.mark.parametrize("make", [app_id, service_id, pool_id])
def test_ids_refuse_bad_names(make: object) -> None:
    """No id is made of a name that cannot stand in one."""
    assert callable(make)
    with pytest.raises(ValueError, match="is not a name"):
        make("a b")


@given(ip=st.ip_addresses().map(str), port=st.integers(0, 65_535))
def test_node_id_is_split_into_what_made_it(ip: str, port: int) -> None:
    """The ip and port of a node can be read from its id."""
    assert split_node_id(node_id(ip, port)) == (ip, port)


@pytest.mark.parametrize(
    "node", ["", "node-", "node-1.2.3.4", "node-1.2.3.4_", "node-1_x", "pool-1_2", "node-1_999999"]
)
def test_what_is_no_node_id_is_refused(node: str) -> None:
    """A text that is no node id is refused with the form that was expected."""
    with pytest.raises(ValueError, match="expected node-<ip>_<port>"):
        split_node_id(node)


def test_derived_id_never_changes() -> None:
    """The id of a fact is the same for ever, so that one written again after a crash is known."""
    assert derive_id("registered", "node-10.0.0.1_81", 7) == "c4d268207ce5341f150cbd087a74d4a3"


@given(st.lists(_PART, max_size=4), st.lists(_PART, max_size=4))
def test_derived_ids_differ_by_part_and_place(one: list[str | int], other: list[str | int]) -> None:
    """Two lists of parts share an id only if they read the same, part by part."""
    same = list(map(str, one)) == list(map(str, other))
    assert (derive_id(*one) == derive_id(*other)) == (same or {tuple(one), tuple(other)} == {(), ("",)})


@given(st.lists(_PART, min_size=1, max_size=4))
def test_derived_fraction_lies_below_one(parts: list[str | int]) -> None:
    """Derived chance is at least 0, below 1, and always the same."""
    assert 0 <= derive_fraction(*parts) < 1
    assert derive_fraction(*parts) == derive_fraction(*parts)
