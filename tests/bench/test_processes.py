"""Reading the kernel's figures, and telling our processes apart."""

from __future__ import annotations

import os

import pytest

from bench.processes import cpu_s, describe_argv, pss_mib, read_cpu_ticks, read_pss_kib


def test_pss_is_the_total_and_none_of_its_parts() -> None:
    """`Pss_Anon` and the like are parts of `Pss`."""
    assert read_pss_kib("Rss: 10 kB\nPss:     2048 kB\nPss_Anon:  1 kB\n") == 2048


def test_pss_of_a_kernel_that_does_not_say() -> None:
    """Without the line there is no figure."""
    with pytest.raises(LookupError, match="Pss"):
        read_pss_kib("Rss: 10 kB\n")


def test_cpu_ticks_whatever_the_name_of_the_process() -> None:
    """A name with blanks and brackets does not shift the fields."""
    assert read_cpu_ticks("1 (a ) b) S 2 3 4 5 6 7 8 9 10 11 100 20 0 0") == 120


def test_own_process_costs_something() -> None:
    """The kernel's files have the form that is expected here."""
    assert pss_mib(os.getpid()) > 1
    assert cpu_s(os.getpid()) > 0


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["java", "-cp", "x", "kafka.Kafka", "server.properties"], "kafka"),
        (["python", "-m", "faust", "-A", "streams.app", "worker"], "worker"),
        (["python", "-m", "agents.provisioner"], "provisioner, template and nodes"),
        (["sleep", "9"], "sleep 9"),
    ],
)
def test_processes_are_told_apart(argv: list[str], name: str) -> None:
    """Each kind of process of the platform has its name."""
    assert describe_argv(argv) == name
