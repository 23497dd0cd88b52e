"""What an agent says of its machine."""

from pathlib import Path

import pytest

from agents.machine import Capacity, Usage, read_capacity, read_usage

_MEMINFO = "MemTotal: 8388608 kB\nMemFree: 100 kB\nMemAvailable: 6291456 kB\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine of 8 GiB with 6 GiB available, and work for three cores."""
    (tmp_path / "meminfo").write_text(_MEMINFO)
    (tmp_path / "loadavg").write_text("3.00 2.00 1.00 1/100 4242\n")
    return tmp_path


def test_machine_without_limits_is_offered_whole(proc: Path, tmp_path: Path) -> None:
    """Without limits of a control group the machine's own figures count."""
    nowhere = tmp_path / "nowhere"
    capacity = read_capacity(proc, nowhere)
    assert capacity.memory_mib == 8_192
    assert capacity.cpu_percent % 100 == 0
    assert read_usage(Capacity(200, 8_192), proc, nowhere) == Usage(1.5, 8_192, 2_048)


def test_limits_of_a_container_count(proc: Path, tmp_path: Path) -> None:
    """A container offers its limits, and its memory in use is without what the kernel can take back."""
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{600 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {100 << 20}\n")
    assert read_capacity(proc, tmp_path) == Capacity(50, 1_024)
    assert read_usage(Capacity(50, 1_024), proc, tmp_path) == Usage(3.0, 1_024, 500)


def test_limits_that_are_none_are_passed_over(proc: Path, tmp_path: Path) -> None:
    """`max` is no limit, and neither is one above what the machine has."""
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert read_capacity(proc, tmp_path).memory_mib == 8_192
    (tmp_path / "memory.max").write_text(f"{1 << 40}\n")
    assert read_capacity(proc, tmp_path).memory_mib == 8_192


def test_what_cannot_be_read_is_zero(tmp_path: Path) -> None:
    """Where /proc says nothing, nothing is said."""
    assert read_usage(Capacity(100, 0), tmp_path, tmp_path) == Usage(0.0, 0, 0)
