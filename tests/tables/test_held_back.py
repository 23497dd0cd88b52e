"""An app that failed is held back once for each failure, whoever says it again."""

from sdk.contract import events as e
from tests.tables.world import begin

APP = "application-0"


def test_what_is_said_again_does_not_hold_an_app_back_longer() -> None:
    """A duplicate of the decision is dropped: while the app waits, and once it need wait no longer."""
    world = begin(apps=1)
    row = world.app(APP)
    world.behaviour[APP] = "exits"
    world.agent(row.node).copies[APP, row.generation].end(1)
    world.run(60_000, lambda: bool(world.of_type(e.AppHeldBack)))
    (held,) = world.of_type(e.AppHeldBack)

    assert not world.append(held)
    wake = world.app(APP).wake
    assert wake is not None
    assert world.append(
        e.TimerFired(
            term=held.term,
            based_on=world.log[-1].offset,
            policy=held.policy,
            table="apps",
            key=APP,
            set_at=wake.set_at,
        )
    )
    assert not world.append(held)

    wake = world.app(APP).wake
    assert wake is not None
    assert wake.fired
