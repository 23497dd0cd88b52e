"""How an agent finds its own address: by the way to Kafka, or by a command of the pool."""

import pytest

from agents import own_address
from agents.own_address import with_address
from agents.settings import NodeConfig


def config(ip: str = "", bootstrap: str = "127.0.0.1:9092", command: list[str] | None = None) -> NodeConfig:
    """A node's configuration."""
    return NodeConfig(bootstrap, "/nowhere", ip, 8082, "cloud", address_command=command or [])


def test_given_address_stays() -> None:
    """Nothing is asked where the provider knows it."""
    given = config("10.0.0.4", command=["false"])
    assert with_address(given) is given


def test_address_is_the_one_that_leads_to_kafka() -> None:
    """Loopback leads to loopback; the node listens where it is found."""
    found = with_address(config(bootstrap="127.0.0.1:9092"))
    assert (found.ip, found.listen_ip) == ("127.0.0.1", "127.0.0.1")


def test_second_of_kafkas_addresses_counts_if_the_first_has_no_way() -> None:
    """One broker's name may be gone."""
    found = with_address(config(bootstrap="[fe80::1%none]:9092,127.0.0.1:9092"))
    assert found.ip == "127.0.0.1"


def test_command_says_the_address() -> None:
    """One of this machine is listened on."""
    found = with_address(config(command=["echo", " 127.0.0.7 "]))
    assert (found.ip, found.listen_ip) == ("127.0.0.7", "127.0.0.7")


def test_translated_address_is_not_listened_on() -> None:
    """A public address that a router translates: named after it, listening on the machine's own."""
    found = with_address(config(command=["echo", "192.0.2.7"]))
    assert (found.ip, found.listen_ip) == ("192.0.2.7", "127.0.0.1")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo first >&2; echo no route >&2; exit 3"], "the address_command failed: no route"),
        (["false"], "the address_command failed: exit code 1"),
        (["echo", "not an address"], "printed no address"),
        (["no-such-program-anywhere"], "No such file"),
    ],
)
def test_command_that_does_not_say_it_is_an_error(command: list[str], said: str) -> None:
    """The agent ends with the reason and is started again."""
    with pytest.raises(OSError, match=said):
        with_address(config(command=command))


def test_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metadata service that does not answer costs a bound."""
    monkeypatch.setattr(own_address, "COMMAND_WITHIN_S", 0.1)
    with pytest.raises(OSError, match=r"printed nothing within 0\.1 s"):
        with_address(config(command=["sleep", "60"]))


def test_kafka_without_a_name_is_an_error() -> None:
    """Each host is named with what is wrong."""
    with pytest.raises(OSError, match="no way to Kafka, so no address of our own"):
        with_address(config(bootstrap="[fe80::1%none]:9092,k..k:9092"))
