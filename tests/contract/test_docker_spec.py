"""What a spec may say, and how a wrong one is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sdk.contract.specs import AppSpec, DockerSpec, check_spec

GOOD = AppSpec("application-a", ["true"], driver="docker", docker=DockerSpec("python:3"))


def test_spec_of_a_container_passes() -> None:
    """An image is all that a container needs; every field may be given."""
    check_spec(GOOD)
    check_spec(replace(GOOD, docker=DockerSpec("python:3", "bridge", "1000:1000", False, 64, 150)))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (replace(GOOD, driver="podman"), r"driver: 'podman' is unknown; allowed: process, docker"),
        (replace(GOOD, docker=None), r"docker: the driver docker needs this table"),
        (replace(GOOD, driver="process"), r"docker: is for the driver docker, not for process"),
        (replace(GOOD, docker=DockerSpec("")), r"docker.image: needs the name"),
        (replace(GOOD, docker=DockerSpec("-v")), r"docker.image: needs the name"),
        (replace(GOOD, docker=DockerSpec("a b")), r"docker.image: 'a b' is no name"),
        (replace(GOOD, docker=DockerSpec("a", user="x\n")), r"docker.user: 'x\\n' is no name"),
        (
            replace(GOOD, docker=DockerSpec("a", memory_mib=5)),
            r"docker.memory_mib: 5 is out of range; allowed: 0",
        ),
        (replace(GOOD, docker=DockerSpec("a", cpu_percent=-1)), r"docker.cpu_percent: -1 is out of range"),
    ],
)
def test_wrong_spec_is_refused_with_field_and_what_is_allowed(spec: AppSpec, says: str) -> None:
    """The sentence names the field."""
    with pytest.raises(ValueError, match=says):
        check_spec(spec)
