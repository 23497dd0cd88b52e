"""The runner of a node agent, rule by rule."""

import pytest

from agents import inputs as i
from agents.state import Exit, Found, Image
from tests.agents.rig import LOG, Rig, app, hellos, of_kind, reports


def test_says_hello_at_once_and_each_second() -> None:
    """Without a registration an agent says hello at once and then every second."""
    rig = Rig()
    rig.wait(3_000)
    times = [at for at, it in rig.history if isinstance(it, i.Send)]
    assert times == [0, 1_000, 2_000, 3_000]


def test_hello_carries_the_old_registration() -> None:
    """After a restart the hello names the registration on disk."""
    rig = Rig(image=Image(registration=33))
    assert hellos([it for _, it in rig.history])[0].registration == 33


def test_orders_wait_for_the_end() -> None:
    """Nothing is obeyed before orders were read to the end, then the newest only."""
    rig = Rig()
    early = rig.give(rig.node_orders(app("application-old"), as_of=90), rig.node_orders(app(), as_of=100))
    out = rig.give(i.CaughtUp())
    assert not of_kind(early, i.Spawn)
    assert [it.key for it in of_kind(out, i.Spawn)] == ["application-a"]


def test_first_orders_bring_a_report_at_once() -> None:
    """Orders obeyed for the first time are answered by a report in the same turn, and hellos end."""
    rig = Rig()
    out = rig.register(app())
    assert reports(out)[0].registration == 50
    assert not hellos(rig.wait(10_000))


def test_foreign_claim_is_not_obeyed() -> None:
    """Orders of another claim start nothing."""
    rig = Rig()
    assert not of_kind(rig.give(rig.node_orders(app(), claim="other", registration=0), i.CaughtUp()), i.Spawn)
    assert not rig.state.is_registered


def test_stale_orders_are_not_obeyed() -> None:
    """Orders older than the last obeyed change nothing, equal ones do."""
    rig = Rig()
    rig.register(as_of=100)
    assert not of_kind(rig.give(rig.node_orders(app(), as_of=99)), i.Spawn)
    assert of_kind(rig.give(rig.node_orders(app(), as_of=100)), i.Spawn)


def test_as_of_on_disk_counts_in_its_own_log_only() -> None:
    """Orders computed from another log are obeyed although their offset is lower."""
    rig = Rig(image=Image(registration=5, topic_id="log-0", as_of=9_000))
    out = rig.register(app(), as_of=100)
    assert of_kind(out, i.Spawn)
    assert of_kind(out, i.Save)[0].image.topic_id == LOG


def test_things_of_another_log_are_ended() -> None:
    """What the old log knew is killed and forgotten, although its offsets are beyond the new log's orders."""
    rig = Rig(
        image=Image(registration=5, topic_id="log-0", as_of=9_000),
        found=[Found("application-a", 8_000, "alive", pid=5), Found("application-b", 8_001, "dead")],
    )
    out = rig.register(app(), as_of=100)
    assert [it.key for it in of_kind(out, i.Kill)] == ["application-a"]
    assert [it.key for it in of_kind(out, i.Forget)] == ["application-b"]
    out = rig.give(i.Exited("application-a", 8_000, -9))
    assert [(it.key, it.epoch) for it in of_kind(out, i.Spawn)] == [("application-a", 90)]


def test_disk_keeps_what_was_obeyed() -> None:
    """Registration, log and offset are saved before anything is started."""
    rig = Rig()
    out = rig.register(app())
    kinds = [type(it) for it in out]
    assert kinds.index(i.Save) < kinds.index(i.Spawn)
    assert of_kind(out, i.Save)[0].image == Image(registration=50, topic_id=LOG, as_of=100)


def test_app_is_started_once() -> None:
    """The same orders again start nothing."""
    rig = Rig()
    rig.register(app())
    again = rig.give(rig.node_orders(app(), as_of=101), rig.node_orders(app(), as_of=102))
    assert not of_kind(again + rig.wait(5_000), i.Spawn)


def test_first_beat_is_reported_at_once() -> None:
    """An app is starting until its first beat, which is reported at once."""
    rig = Rig()
    rig.register(app())
    rig.wait(100)
    out = rig.give(i.Beaten("application-a", 90))
    assert [(entry.status, entry.age_ms) for entry in reports(out)[0].apps] == [("running", 0)]


def test_first_beats_share_a_report() -> None:
    """First beats within a few milliseconds make two reports, not four."""
    rig = Rig()
    names = [f"application-{n}" for n in range(4)]
    rig.register(*(app(name) for name in names))
    rig.wait(100)
    made = []
    for name in names:
        rig.now_ms += 1
        made += rig.give(i.Beaten(name, 90))
    made += rig.wait(20)
    assert len(reports(made)) == 2
    assert all(entry.status == "running" for entry in reports(made)[-1].apps)


def test_exit_is_reported_until_orders_forget_it() -> None:
    """An exited app is not started again, and is in every report until orders no longer name its generation."""
    rig = Rig()
    rig.run(app())
    out = rig.give(i.Exited("application-a", 90, 3, "exited with code 3"))
    assert [(e.status, e.exit_code) for e in reports(out)[0].apps] == [("exited", 3)]
    assert not of_kind(rig.wait(20_000), i.Spawn)
    assert rig.entry("application-a") is not None
    gone = rig.give(rig.node_orders(as_of=101))
    rig.wait(5_000)
    assert of_kind(gone, i.Forget)
    assert rig.entry("application-a") is None


def test_generation_that_ended_is_not_revived_by_orders_that_did_not_know() -> None:
    """An app that nobody wanted ended, and is wanted again before the log knows: only its next generation starts."""
    rig = Rig()
    rig.run(app())
    rig.give(i.Exited("application-a", 90, 3, "exited with code 3"))
    rig.give(rig.node_orders(as_of=101))
    rig.wait(5_000)
    assert rig.entry("application-a") is None
    assert not of_kind(rig.give(rig.node_orders(app(), as_of=102)), i.Spawn)
    assert of_kind(rig.give(rig.node_orders(app(generation=103), as_of=103)), i.Spawn)


def test_exit_survives_a_restart_of_the_agent() -> None:
    """An exit that happened by itself is on disk and reported after a restart, not repaired."""
    rig = Rig()
    rig.run(app())
    saved = of_kind(rig.give(i.Exited("application-a", 90, 3, "why")), i.Save)[-1].image
    again = Rig(image=saved)
    out = again.register(app(), as_of=101)
    assert saved.exits == [Exit("application-a", 90, 3, "why")]
    assert not of_kind(out, i.Spawn)
    assert [(e.status, e.exit_code) for e in reports(out)[0].apps] == [("exited", 3)]


def test_start_that_fails_is_an_exit() -> None:
    """What cannot be started is reported as exited with its code."""
    rig = Rig()
    rig.register(app())
    rig.wait(50)
    out = rig.give(i.Exited("application-a", 90, 127, "no such file"))
    assert reports(out)[0].apps[0].exit_code == 127


def test_absent_app_gets_term_then_kill() -> None:
    """An app that is not ordered is asked to stop and killed after its grace."""
    rig = Rig()
    rig.run(app(stop_grace_ms=3_000))
    assert of_kind(rig.give(rig.node_orders(as_of=101)), i.Stop)
    assert not of_kind(rig.wait(2_990), i.Kill)
    assert of_kind(rig.wait(20), i.Kill)


def test_nothing_newer_than_as_of_is_stopped() -> None:
    """An adopted copy that the orders are too old to know goes on; orders that could know it end it."""
    rig = Rig(found=[Found("application-a", 150, "alive", pid=5)])
    out = rig.register(as_of=149)
    assert not of_kind(out + rig.wait(20_000), i.Stop)
    assert of_kind(rig.give(rig.node_orders(as_of=150)), i.Stop)


def test_new_generation_waits_for_the_old_to_end() -> None:
    """The old copy is stopped first, the new one starts on its exit."""
    rig = Rig()
    rig.run(app(generation=90))
    out = rig.give(rig.node_orders(app(generation=120), as_of=120))
    assert of_kind(out, i.Stop)
    assert not of_kind(out, i.Spawn)
    out = rig.give(i.Exited("application-a", 90, -15))
    assert [it.epoch for it in of_kind(out, i.Spawn)] == [120]


def test_hanging_old_copy_is_killed_for_the_new() -> None:
    """A copy that has long been silent gets no grace when a newer one is to start."""
    rig = Rig()
    rig.run(app(generation=90))
    rig.wait(11_000)
    assert of_kind(rig.give(rig.node_orders(app(generation=120), as_of=120)), i.Kill)


def test_condemned_copy_is_killed_at_once() -> None:
    """`kill` in the orders means no grace; said again it kills no second time."""
    rig = Rig()
    rig.run(app())
    out = rig.give(rig.node_orders(app(kill=True), as_of=101))
    assert of_kind(out, i.Kill)
    assert not of_kind(out, i.Stop)
    assert not of_kind(rig.give(rig.node_orders(app(kill=True), as_of=102)), i.Kill)


def test_condemned_copy_is_not_brought_to_life() -> None:
    """A condemned copy that is not there is not started in order to be killed."""
    rig = Rig()
    assert not of_kind(rig.register(app(kill=True)), i.Spawn)


@pytest.mark.parametrize("how", ["ended", "later registration"])
def test_end_of_registration_kills_and_asks_anew(how: str) -> None:
    """`ended` orders, or a later registration of another claim, kill everything and lead to a new claim."""
    rig = Rig()
    rig.run(app())
    first = rig.claim
    if how == "ended":
        out = rig.give(rig.node_orders(ended=True, as_of=101))
    else:
        out = rig.give(rig.node_orders(claim="other", registration=51, as_of=101))
    assert of_kind(out, i.Kill)
    assert not of_kind(out, i.Stop)
    hello = hellos(out)[0]
    assert (hello.claim != first, hello.registration) == (True, 50)
    assert not reports(rig.give(i.Exited("application-a", 90, -9)) + rig.wait(5_000))


def test_registers_again_as_a_free_node() -> None:
    """After its registration ended and it registered anew, the agent knows nothing of its old apps."""
    rig = Rig()
    rig.run(app())
    rig.give(rig.node_orders(ended=True, as_of=101))
    rig.give(i.Exited("application-a", 90, -9))
    out = rig.give(rig.node_orders(registration=110, as_of=111))
    assert reports(out)[0].registration == 110
    assert reports(out)[0].apps == []


def test_earlier_registration_of_another_claim_is_ignored() -> None:
    """Orders of an older registration, left in the topic, end nothing."""
    rig = Rig()
    rig.run(app())
    assert not of_kind(rig.give(rig.node_orders(claim="other", registration=49, as_of=200)), i.Kill)
    assert rig.state.is_registered


def test_refused_claim_is_said_once_and_asked_more_slowly() -> None:
    """Who meets a living registration under its own id says so once and backs off to 5 s."""
    rig = Rig()
    rig.give(rig.node_orders(claim="other", registration=60), i.CaughtUp())
    rig.give(rig.node_orders(claim="other", registration=60, as_of=101))
    rig.wait(40_000)
    said = [it for _, it in rig.history if isinstance(it, i.Say) and it.level == "error"]
    times = [at for at, it in rig.history if isinstance(it, i.Send)]
    assert len(said) == 1
    assert times[-1] - times[-2] == 5_000


def test_own_old_registration_is_no_refusal() -> None:
    """An agent that restarted meets the orders of its own last claim and goes on asking every second."""
    rig = Rig(image=Image(registration=60, topic_id=LOG, as_of=100))
    rig.give(rig.node_orders(claim="mine-before", registration=60), i.CaughtUp())
    rig.wait(3_000)
    assert len(hellos([it for _, it in rig.history])) == 4
