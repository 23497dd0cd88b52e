"""Specs: what can be run, and what a refusal names."""

from typing import Any

import pytest
from msgspec.structs import replace

from sdk.contract.specs import AppSpec, Constraint, check_spec, parse_constraint

_SPEC = AppSpec("application-a", ["run"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpu_percent": -1}, "cpu_percent: -1 is out of range; allowed: 0 to 100000"),
        ({"memory_mib": 1 << 40}, "memory_mib: .* allowed: 0 to"),
        ({"priority": 101}, "priority: 101 is out of range; allowed: 0 to 100"),
        ({"group": "a b"}, "group 'a b' is not a name"),
        ({"affinity": "/"}, "affinity '/' is not a name"),
        ({"constraints": [Constraint("pool", ["a"])] * 17}, "constraints: 17; allowed: at most 16"),
        ({"constraints": [Constraint("pool", [])]}, "constraints: pool names 0 values"),
        ({"constraints": [Constraint("node", ["a,b"])]}, "constraints: node has a value"),
    ],
)
def test_refusal_names_the_field_and_what_is_allowed(fields: dict[str, Any], words: str) -> None:
    """Whoever wrote the spec learns which field is wrong."""
    with pytest.raises(ValueError, match=words):
        check_spec(replace(_SPEC, **fields))


def test_spec_with_every_wish_is_taken() -> None:
    """Wishes within bounds are fine."""
    check_spec(
        replace(
            _SPEC, cpu_percent=150, memory_mib=300, priority=0, group="web", affinity="db", spread=False,
            constraints=[Constraint("driver", ["docker"]), Constraint("ip", ["10.0.0.1"], "!=")],
        )
    )  # fmt: skip


@pytest.mark.parametrize("text", ["pool=home", "node!=node-a_1,node-b_2", "ip=10.0.0.1", "driver!=docker"])
def test_constraint_is_written_as_it_is_read(text: str) -> None:
    """The text of a constraint is what it is parsed from."""
    assert str(parse_constraint(text)) == text


@pytest.mark.parametrize("text", ["", "pool", "=home", "colour=red", "pool=", "pool=a,,b", "pool!", "!=a"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    """The refusal says how one is written."""
    with pytest.raises(ValueError, match="constraint"):
        parse_constraint(text)
