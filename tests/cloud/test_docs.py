"""The examples of the operations page are configurations that are taken."""

import re
import tomllib

import msgspec
import pytest

from agents.settings import CloudConfig
from agents.spawner import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
EXAMPLES = [
    "\n".join(line.removeprefix("    ") for line in block.splitlines())
    for block in re.findall(r"(?:^(?:    .*)?\n)+", PAGE, re.MULTILINE)
    if ".cloud]" in block
]
POOLS = [
    (name, pool)
    for text in EXAMPLES
    for name, pool in tomllib.loads(text)["pools"].items()
    if "cloud" in pool
]


@pytest.mark.parametrize(("name", "pool"), POOLS, ids=[name for name, _ in POOLS])
def test_example_is_taken(name: str, pool: dict[str, object]) -> None:
    """Each example passes the checks that a real configuration has to pass."""
    assert pool["provider"] == "cloud"
    assert msgspec.convert(pool["cloud"], CloudConfig).bootstrap == "10.0.0.4:9092"


def test_page_has_an_example_of_azure_and_of_ec2() -> None:
    """Both that the page promises."""
    assert {name for name, _ in POOLS} >= {"azure", "ec2"}


def test_page_explains_every_key() -> None:
    """The table has a row, or a share of one, for each field of the configuration."""
    for field in CloudConfig.__struct_fields__:
        assert f"`{field}`" in PAGE
