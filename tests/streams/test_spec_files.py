"""Specs in files: what they ask for, what is wrong in them and where, and what applying them changes."""

import pytest

from sdk.contract.requests import RestartApp, RunApp, StopApp
from sdk.contract.specs import AppSpec, Constraint
from streams.commands import CommandError
from streams.commands.scaling import scaled
from streams.spec_files import SpecFile, parse_specs
from streams.spec_plan import plan_specs
from tables.state import State
from tests.tables.world import World, begin

_TWO = """\
[[app]]
name = "pump"
command = ["python3", "pump.py"]
count = 2
slots = 2

[app.env]
LEVEL = "3"

[[app]]
name = "scheduler"
kind = "service"
command = ["scheduler"]
start_within_ms = 5000
"""


def _parse(text: str) -> SpecFile:
    return parse_specs(text, name="spec.toml")


def test_a_file_becomes_specs() -> None:
    """Names become ids by their kind, a count becomes numbered copies, and the other keys are those of a spec."""
    command = ["python3", "pump.py"]

    wanted = _parse(_TWO)

    assert wanted.specs == [
        AppSpec("application-pump-1", command, env={"LEVEL": "3"}, slots=2, group="pump"),
        AppSpec("application-pump-2", command, env={"LEVEL": "3"}, slots=2, group="pump"),
        AppSpec("service-scheduler", ["scheduler"], start_within_ms=5_000),
    ]
    assert wanted.counts == {"application-pump": 2}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("slots = 2", "slots = 0", "spec.toml, line 5, slots: 0 is out of range; allowed: 1 to 1000."),
        ("slots = 2", 'slots = "2"', "spec.toml, line 5, slots: Expected `int`, got `str`."),
        ("slots = 2", "slotz = 2", "spec.toml, line 5, slotz: unknown; allowed: affinity, beats, command,"),
        ('LEVEL = "3"', "LEVEL = 3", "spec.toml, line 7, env: Expected `str`, got `int`."),
        ("count = 2", "count = -1", "spec.toml, line 4, count: -1 is out of range; allowed: 0 to 1000."),
        ('"service"', '"daemon"', "line 12, kind: 'daemon' is unknown; allowed: application, service."),
        ('name = "scheduler"\n', "", "spec.toml, line 10, name: is missing."),
        ('name = "scheduler"', 'name = "a b"', "spec.toml, line 11, name: the name 'a b' is not a name:"),
        ('command = ["scheduler"]', "command = []", "spec.toml, line 13, command: needs a program"),
        ("5000", "5_000_000", "line 14, start_within_ms: 5000000 is out of range; allowed: 1000 to 3600000."),
        ('kind = "service"', 'driver = "ssh"', "line 12, driver: 'ssh' is unknown; allowed: process, docker."),
        ('kind = "service"', 'constraints = ["pool"]', "constraints: constraint: 'pool' is none;"),
        ('kind = "service"', "constraints = [3]", "line 12, constraints: Expected `str`, got `int`."),
        (
            'kind = "service"',
            'restart = "sometimes"',
            "line 12, restart: 'sometimes' is unknown; allowed: always, on-failure, never.",
        ),
        ('kind = "service"', 'needs_services = ["a b"]', "line 12, needs_services: service 'a b' is not a name"),
        ('kind = "service"', 'group = "a b"', "line 12, group: group 'a b' is not a name"),
        ('kind = "service"', 'driver = "docker"\ndocker.image = "-"', "docker.image: needs the name of an"),
        ('kind = "service"', 'beats = "a b"', "line 12, beats: 'a b' is no name of a topic; allowed: 1 to 249"),
        ("slots = 2", 'beats = "pump"', "line 5, beats: copies cannot be told apart in one topic; allowed: with"),
        ('kind = "service"', 'beats = "watchkeep.events.v1"', "line 12, beats: watchkeep.events.v1 is a topic of"),
        ('kind = "service"', 'driver = "docker"\ndocker.picture = "a"', "docker.picture: unknown; allowed:"),
        ('kind = "service"', 'heartbeat = "tcp"', "line 12, heartbeat: 'tcp' is unknown; allowed: sdk,"),
        ('kind = "service"', 'heartbeat = "http"', "line 10, http: heartbeat = 'http' needs this table, such as"),
        ('kind = "service"', "http = { port = 80 }", "line 12, http: is for heartbeat = 'http', not for 'sdk'."),
        ('kind = "service"', "readiness = { prot = 80 }", "line 12, readiness.prot: unknown; allowed: path, port,"),
        ('kind = "service"', "readiness = { port = 65536 }", "line 12, readiness.port: 65536 is out of range;"),
        ('kind = "service"', "readiness.path = 'x'", "line 12, readiness.path: 'x' is no path; allowed: /"),
        ('kind = "service"', "memory_limit_mib = 5", "line 12, memory_limit_mib: 5 is out of range; allowed: 0 (no"),
        ('kind = "service"', "cpu_limit_percent = 10\ncpu_percent = 20", "cpu_limit_percent: 10 is less than the 20"),
        ('name = "scheduler"\nkind = "service"', 'name = "pump-1"', "line 11, name: application-pump-1 stands"),
        (_TWO, "[[apps]]", "spec.toml, apps: unknown; allowed: [[app]] tables."),
        ("count = 2", "count =", "spec.toml is not TOML: Invalid value (at line 4, column 8)."),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_line_key_and_what_is_allowed(old: str, new: str, words: str) -> None:
    """One sentence leads to the place, and says what would be right."""
    assert old in _TWO
    with pytest.raises(CommandError) as caught:
        _parse(_TWO.replace(old, new))
    assert words in caught.value.message


def test_constraints_are_written_as_on_the_command_line() -> None:
    """What a node must be is a list of short sentences."""
    (spec, _, _) = _parse(_TWO.replace("slots = 2", 'constraints = ["pool=a,b", "node!=c"]')).specs
    assert spec.constraints == [Constraint("pool", ["a", "b"]), Constraint("node", ["c"], "!=")]


def _steps(state: State, text: str) -> list[tuple[str, str, str]]:
    return [(step.action, step.app, step.why) for step in plan_specs(state, _parse(text))]


def _run_two(count: int = 2) -> World:
    world = begin(nodes=3)
    for spec in _parse(_TWO.replace("count = 2", f"count = {count}")).specs:
        world.ask(RunApp(spec))
    world.run(5_000, world.all_run)
    return world


def test_a_file_applied_twice_changes_nothing() -> None:
    """What runs as the file says is kept."""
    assert {action for action, _, _ in _steps(_run_two().state, _TWO)} == {"keep"}


def test_a_plan_says_what_starts_changes_and_stops_and_why() -> None:
    """New and stopped apps start, those whose spec differs change, and copies over the count stop."""
    world = _run_two(3)
    world.ask(StopApp("service-scheduler"))

    text = _TWO.replace('LEVEL = "3"', 'LEVEL = "4"') + '[[app]]\nname = "new"\ncommand = ["new"]\n'

    assert _steps(world.state, text) == [
        ("change", "application-pump-1", "another env"),
        ("change", "application-pump-2", "another env"),
        ("start", "service-scheduler", "it was stopped"),
        ("start", "application-new", "it is new"),
        ("stop", "application-pump-3", "the count is 2"),
    ]


def test_a_copy_that_still_has_its_old_spec_changes() -> None:
    """A rollout that was cut off goes on where it ended: the spec is known, but the copy is the old one."""
    world = _run_two()
    text = _TWO.replace('LEVEL = "3"', 'LEVEL = "4"')
    (spec, *_) = _parse(text).specs
    world.ask(RunApp(spec))
    assert _steps(world.state, text)[0] == (
        "change",
        "application-pump-1",
        "its copy still has another env",
    )

    world.ask(RestartApp("application-pump-1"))
    world.run(5_000, lambda: world.app(spec.app).placed_spec == spec and world.all_run())

    assert _steps(world.state, text)[0][0] == "keep"


def test_scaling_takes_the_spec_of_the_first_copy() -> None:
    """More copies start as the first one is, fewer stop from the last one on, and an unknown name is said."""
    state = _run_two().state

    assert [
        [
            (step.action, step.app)
            for step in plan_specs(state, scaled(state, "pump", count))
            if step.action != "keep"
        ]
        for count in (3, 1)
    ] == [[("start", "application-pump-3")], [("stop", "application-pump-2")]]
    assert scaled(state, "application-pump", 3).specs[2].env == {"LEVEL": "3"}
    with pytest.raises(CommandError, match="no app valve-1 to copy"):
        scaled(state, "valve", 1)


def test_copies_that_would_share_a_topic_are_not_made() -> None:
    """What beats into a topic of its own has one copy, as in a file; none and one are allowed."""
    world = begin()
    world.ask(RunApp(AppSpec("service-meter-1", ["meter"], beats="of.meters")))

    assert [len(scaled(world.state, "meter", count).specs) for count in (0, 1)] == [0, 1]
    with pytest.raises(CommandError, match=r"service-meter-1 beats into the topic of\.meters"):
        scaled(world.state, "meter", 2)
