"""Jars: the lock files, and that nothing but the locked bytes is used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from streams.local.jars import Jar, JarError, read_lock, verify_jars, write_lock

_CONTENT = b"the bytes that were locked"


@pytest.fixture
def jar(tmp_path: Path) -> Jar:
    """Return a jar that lies in `tmp_path` as the lock names it."""
    locked = Jar(hashlib.sha256(_CONTENT).hexdigest(), len(_CONTENT), "org.example:thing:1.0")
    (tmp_path / locked.file_name).write_bytes(_CONTENT)
    return locked


@pytest.mark.parametrize("version", ["4.1.1", "3.9.1"])
def test_lock_names_one_version_of_kafka_and_a_log_binding(version: str) -> None:
    """Every Kafka jar has the version of the lock, files differ, and a broker with it can log."""
    jars = read_lock(version)

    versions = {
        jar.coordinate.split(":")[2] for jar in jars if jar.coordinate.startswith("org.apache.kafka:")
    }
    assert versions == {version}
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert any(name in jar.file_name for jar in jars for name in ("log4j-slf4j-impl", "slf4j-reload4j"))
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars)


def test_lock_survives_writing_and_reading(tmp_path: Path) -> None:
    """What is written is what is read, in the same order."""
    jars = [Jar("b" * 64, 2, "org.example:b:1"), Jar("a" * 64, 1, "org.example:a:1:linux")]

    write_lock(tmp_path / "kafka-0.0.lock", jars, "made by a test\nfor a test")

    assert read_lock("0.0", tmp_path) == jars


def test_unknown_version_names_the_known_ones() -> None:
    """A version without a lock is an error that says which there are."""
    with pytest.raises(JarError, match=r"3\.9\.1, 4\.1\.1"):
        read_lock("1.0")


def test_right_jar_passes(tmp_path: Path, jar: Jar) -> None:
    """The locked bytes are accepted, with and without the stamp of an earlier look."""
    verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")
    verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")


@pytest.mark.parametrize("verified_before", [True, False])
def test_tampered_jar_is_refused(tmp_path: Path, jar: Jar, *, verified_before: bool) -> None:
    """Other bytes of the same length are refused and the file is named, also after an earlier good look."""
    if verified_before:
        verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")
    path = tmp_path / jar.file_name
    path.write_bytes(bytes(reversed(_CONTENT)))
    # Whatever the resolution of the file system's clock, the second write is another one.
    os.utime(path, ns=(0, 1))

    with pytest.raises(JarError, match=r"thing-1\.0\.jar"):
        verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")


def test_stamp_does_not_outlive_a_changed_lock(tmp_path: Path, jar: Jar) -> None:
    """A jar that was right for the old lock is looked at again for a new one."""
    verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")

    with pytest.raises(JarError):
        verify_jars([jar._replace(sha256="0" * 64)], tmp_path, stamp=tmp_path / "stamp")


def test_unreadable_stamp_only_costs_time(tmp_path: Path, jar: Jar) -> None:
    """A stamp that cannot be read is as none."""
    (tmp_path / "stamp").write_text("[broken", encoding="utf-8")

    verify_jars([jar], tmp_path, stamp=tmp_path / "stamp")
