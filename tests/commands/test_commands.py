"""The commands that read the platform: usage, exit codes and what needs no broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from cli import main
from sdk.contract.events import (
    AppExited,
    BrakeEngaged,
    BrakeReleaseRequested,
    NodeDeclaredDown,
    NodeExited,
    OverdueShareChanged,
    Position,
)
from streams.commands import CANNOT_REACH_KAFKA, OK, USAGE, CommandError
from streams.commands.app_specs import make_specs
from streams.commands.monitor import WatchLines
from streams.commands.nodes import new_nodes
from streams.commands.shared import parse_position
from streams.commands.shared_apps import find_app, is_settled
from streams.log_files import entry_document
from tests.streams.logs import Log

NOW = datetime(2026, 3, 1, 14, 30, tzinfo=UTC)


def call(*arguments: str) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, arguments, prog_name="cli.py")


@pytest.mark.parametrize(
    "arguments",
    [
        "nodes list",
        "pools list",
        "pools show local",
        "pools set local --spares 1",
        "nodes show node-127.0.0.1_1",
        "nodes create",
        "nodes request",
        "db nodes",
        "apps scale a 2",
        "apps logs a",
        "apps run examples/apps.toml --dry-run",
        "services list",
        "services show a",
        "services restart a",
        "services apply examples/services.toml",
        "db monitoring",
        "nodes cordon node-127.0.0.1_1",
        "nodes uncordon node-127.0.0.1_1",
        "nodes drain node-127.0.0.1_1",
        "apps move a --to node-127.0.0.1_1",
        "apps show a --why",
        "apps list",
        "apps run a -- true",
        "monitor status",
        "monitor watch",
        "monitor pause --for 30m",
        "monitor resume",
        "topics check",
        "events tail",
        "events replay",
        "state",
        "verify",
    ],
)
def test_command_without_kafka_says_so_in_one_sentence(arguments: str) -> None:
    """Exit code 5 and one line on stderr, within a few seconds."""
    words = arguments.split()
    at = words.index("--") if "--" in words else len(words)
    result = call(*words[:at], "--bootstrap-servers", "127.0.0.1:1", *words[at:])

    assert result.exit_code == CANNOT_REACH_KAFKA
    assert result.stderr.startswith("Error: No Kafka")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "nodes list -o yaml",
        "nodes show",
        "nodes create --count 0",
        "apps run a",
        "apps run a -e NAME -- true",
        "apps run ../a -- true",
        "apps run a --on-failure never -- true",
        "apps run a --slots 0 -- true",
        "apps run a --cpu 200000 -- true",
        "apps run a --priority 101 -- true",
        "apps run a --constraint colour=red -- true",
        "apps run a --constraint pool -- true",
        "events replay --from yesterday",
        "events replay --file /no/such/file",
        "state --at x",
        "state no-such-table",
    ],
)
def test_command_with_bad_usage(arguments: str) -> None:
    """Exit code 2, and Kafka is not asked for anything."""
    assert call(*arguments.split()).exit_code == USAGE


@pytest.mark.parametrize("command", ["nodes", "apps", "monitor", "topics", "events", "state", "verify"])
def test_help_has_examples(command: str) -> None:
    """Each command explains itself with an example."""
    result = call(command, "--help")

    assert result.exit_code == OK
    assert f"\n    python cli.py {command}" in result.stdout
    assert "\\b" not in result.stdout


# --- times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1234", 1234),
        ("-5m", NOW - timedelta(minutes=5)),
        ("-1h30m", NOW - timedelta(minutes=90)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-2d", NOW - timedelta(days=2)),
        ("14:03", NOW.replace(minute=3)),
        ("14:03:05", NOW.replace(minute=3, second=5)),
        ("23:00", NOW.replace(hour=23, minute=0) - timedelta(days=1)),
        ("2026-02-28T10:00:00Z", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
    ],
)
def test_position_is_an_offset_or_a_time(text: str, expected: int | datetime) -> None:
    """Digits are an offset; a time of day is the last one that was; a time without zone is local."""
    assert parse_position(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "-", "5m", "25:00", "soon", "-5x"])
def test_position_that_is_neither_is_refused(text: str) -> None:
    """What is neither is an error that shows how to write it."""
    with pytest.raises(ValueError, match=r"neither|hour must be"):
        parse_position(text, NOW)


# --- replay of a file ----------------------------------------------------------------------------------


def test_replay_of_a_file_needs_no_kafka(tmp_path: Path) -> None:
    """A saved log replays with what each event changed, from where it was asked to show."""
    log = Log()
    log.start()
    generation = log.add_app("application-a", "node-127.0.0.1_8082")
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(entry_document(entry)) for entry in log.entries))

    result = call("events", "replay", "--file", str(path), "--from", str(generation), "-o", "json")
    steps = [msgspec.json.decode(line) for line in result.stdout.splitlines()]

    assert result.exit_code == OK
    assert [step["offset"] for step in steps] == [generation, generation + 1]
    assert steps[1]["changes"][0]["fields"]["phase"] == {"old": "placed", "new": "running"}


def test_replay_of_a_file_for_people(tmp_path: Path) -> None:
    """The text names row, field, value before and after."""
    log = Log()
    log.start()
    log.add_app("application-a", "node-127.0.0.1_8082")
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(entry_document(entry)) for entry in log.entries))

    result = call("events", "replay", "--file", str(path))

    assert result.exit_code == OK
    assert 'phase: "placed" -> "running"' in result.stdout


# --- monitor watch -------------------------------------------------------------------------------------


def watched(log: Log, start: int) -> list[str]:
    """The lines for the events from `start` on, without their times."""
    other = Log()
    lines = WatchLines(other.state)
    printed = []
    for entry in log.entries:
        assert entry.raw is not None
        copy = other.add_raw(entry.raw)
        new = list(lines.after(copy))
        if entry.offset >= start:
            printed += new
    return [line.split("  ", 1)[1] for line in printed]


def test_watch_says_who_becomes_inactive_and_active() -> None:
    """Services go by their bare name; a node takes its apps along when it dies."""
    log = Log()
    log.start(nodes=2)
    log.add_app("service-deployer", "node-127.0.0.1_8082")
    generation = log.add_app("application-7", "node-127.0.0.1_8083")
    start = log.end
    log.add(AppExited("application-7", generation, "node-127.0.0.1_8083", "exited", Position(0, 50)))
    node = log.state.nodes["node-127.0.0.1_8082"]
    log.add(NodeExited(node.order, "pool-local", node.node, "killed", Position(0, 51)))
    log.add(
        NodeDeclaredDown(
            term=log.term,
            based_on=log.end - 1,
            policy=-1,
            node=node.node,
            registration=node.registration,
            reason="exited",
            destroy=False,
        )
    )

    assert watched(log, start) == [
        "application-7 \x1b[31mInactive\x1b[0m",
        "node-127.0.0.1_8082 \x1b[31mInactive\x1b[0m",
        "deployer \x1b[31mInactive\x1b[0m",
    ]


def test_watch_announces_who_is_new_once_it_is_active() -> None:
    """A node and an app appear with their first beat, not when they are asked for."""
    log = Log()
    log.start()
    log.add_app("application-7", "node-127.0.0.1_8082")

    assert [line.split()[0] for line in watched(log, 0)] == [
        "pool-local",
        "node-127.0.0.1_8082",
        "application-7",
    ]


def test_watch_says_when_the_brake_comes_on_and_why() -> None:
    """The brake is a line of its own, once; a release while it is off is none."""
    log = Log()
    log.start(nodes=3)
    start = log.end
    log.add(BrakeReleaseRequested("request-early"))
    log.add(OverdueShareChanged(log.term, "all", 3, 3, []))
    log.add(BrakeEngaged(term=log.term, based_on=log.end - 1, policy=-1, band="all", overdue=3, nodes=3))
    log.add(BrakeReleaseRequested("request-late"))

    lines = watched(log, start)

    assert [click.unstyle(line).split()[:2] for line in lines] == [["brake", "Active"], ["brake", "Inactive"]]
    assert "3 of 3 nodes overdue" in lines[0]


# --- asking --------------------------------------------------------------------------------------------


def test_count_names_the_apps_in_a_row() -> None:
    """`--count 3` runs NAME-1 to NAME-3, each with the same command and environment."""
    specs = make_specs(
        "load",
        ("python3", "-u"),
        env=("A=1", "B=x=y"),
        kind="service",
        wish={"on_failure": "same-node", "slots": 2},
        count=3,
    )

    assert [spec.app for spec in specs] == ["service-load-1", "service-load-2", "service-load-3"]
    assert specs[0].command == ["python3", "-u"]
    assert specs[0].env == {"A": "1", "B": "x=y"}


def test_name_may_carry_its_prefix() -> None:
    """`application-a` and `a` are the same app, to run and to find."""
    log = Log()
    log.start()
    log.add_app("application-a", "node-127.0.0.1_8082")
    specs = make_specs("application-a", ("true",), kind="application", wish={})

    assert specs[0].app == find_app(log.state, "a") == find_app(log.state, "application-a")
    with pytest.raises(CommandError, match="no app b"):
        find_app(log.state, "b")


def test_new_nodes_are_those_ordered_after_the_request() -> None:
    """Older nodes do not count, and those of a later order do as they register."""
    log = Log()
    log.start(nodes=1)
    asked = log.want_node()
    asked_ms = log.now_ms
    node = log.add_node(8090)

    assert new_nodes(log.state, "pool-local", after=asked, after_ms=asked_ms) == [node]
    assert new_nodes(log.state, "pool-local", after=log.end, after_ms=log.now_ms) == []


def test_restart_is_settled_by_a_newer_copy_only() -> None:
    """The copy that ran before does not end the wait."""
    log = Log()
    log.start()
    generation = log.add_app("application-a", "node-127.0.0.1_8082")

    assert is_settled(log.state, "application-a", newer_than=generation - 1)
    assert not is_settled(log.state, "application-a", newer_than=generation)
