"""A claim outlives its agent: who ended before it read its orders takes its own registration."""

from agents import inputs as i
from agents.state import Image
from tests.agents.rig import Rig, app, hellos, of_kind


def test_a_claim_is_on_disk_before_anybody_hears_of_it() -> None:
    """The image is written before the first hello, and names no claim any more once orders did."""
    rig = Rig()
    first = [it for _, it in rig.history if isinstance(it, i.Save | i.Send)]
    assert isinstance(first[0], i.Save)
    assert first[0].image.asking == rig.claim
    rig.register(app())
    assert [it for _, it in rig.history if isinstance(it, i.Save)][-1].image.asking == ""


def test_an_agent_that_ended_before_it_read_its_orders_takes_its_own_registration() -> None:
    """Started again it asks under the claim on its disk, and obeys the orders that name it."""
    rig = Rig(image=Image(registration=33, asking="claim-before"))
    assert {hello.claim for hello in hellos([it for _, it in rig.history])} == {"claim-before"}

    out = rig.give(rig.node_orders(app(), claim="claim-before", registration=50), i.CaughtUp())

    assert rig.state.registration == 50
    assert [it.key for it in of_kind(out, i.Spawn)] == ["application-a"]


def test_a_registration_that_ended_meanwhile_is_asked_for_anew() -> None:
    """Orders that say it is over end the old claim as they would have ended it before."""
    rig = Rig(image=Image(asking="claim-before"))
    rig.give(rig.node_orders(claim="claim-before", registration=50, ended=True), i.CaughtUp())
    last = hellos([it for _, it in rig.history])[-1]
    assert (last.claim, last.registration) == (rig.claim, 50)
