"""The first wishes of a new platform: its pools, its policy and, if asked, the examples. Shell.

Nothing is asked for twice: what the log already has stays as it is, whatever the settings say today.
"""

from __future__ import annotations

from msgspec.structs import replace

from sdk.contract.ids import pool_id
from sdk.contract.policy import policy_from
from sdk.contract.requests import ChangePolicy, Request, RunApp
from sdk.contract.specs import AppSpec
from streams.asking import ANSWER_WITHIN_S, open_conversation
from streams.demo_controllers import controller_wishes
from streams.demo_sensors import binding_wishes, sensor_wishes
from streams.pool_plans import plan_pools
from streams.settings import PROJECT_ROOT, Settings
from streams.spec_files import load_specs
from tables.state import State

#: Applications and services of the demo.
EXAMPLES = (
    PROJECT_ROOT / "examples" / "apps.toml",
    PROJECT_ROOT / "examples" / "platform" / "services.toml",
)


async def seed(settings: Settings, *, demo: bool = False, timeout_s: float = ANSWER_WITHIN_S) -> list[str]:
    """Ask for what the log lacks; return what was asked for, in words.

    Raises:
        CommandError: a wish was refused or nobody answered, or the examples cannot be read.
    """
    async with open_conversation(settings.bootstrap, settings.prefix) as conversation:
        wishes = list_wishes(conversation.state, settings, list_examples() if demo else [])
        # All at once: a demo has more than twenty, and a busy machine takes a second for each that is waited for.
        if demo:
            wishes |= sensor_wishes(conversation.state) | controller_wishes(conversation.state)
        if wishes:
            await conversation.ask_all(list(wishes.values()), timeout_s=timeout_s, asker="up")
        bindings = binding_wishes(conversation.state) if demo else {}
        if bindings:
            # What is bound must be known before.
            await conversation.ask_all(list(bindings.values()), timeout_s=timeout_s, asker="up")
        return [*wishes, *bindings]


def list_examples() -> list[AppSpec]:
    """The specs of the demo: its applications, then its services."""
    return [spec for path in EXAMPLES for spec in load_specs(path).specs]


def list_wishes(state: State, settings: Settings, apps: list[AppSpec]) -> dict[str, Request]:
    """What the log lacks, by its name for people."""
    wishes: dict[str, Request] = {}
    for plan in plan_pools(settings):
        if pool_id(plan.name) not in state.pools:
            spares = f" and {plan.spares} spares" if plan.spares else ""
            wish = plan.wish()
            if not settings.pools:
                wish = replace(wish, slots=slots_for(settings, apps))
            wishes[f"pool {plan.name} with {plan.nodes} nodes{spares}"] = wish
    if state.policy_row.offset < 0 and settings.policy and policy_from(settings.policy) != state.policy:
        wishes["policy"] = ChangePolicy(dict(settings.policy))
    for spec in apps:
        if spec.app not in state.apps:
            wishes[spec.app] = RunApp(spec)
    return wishes


def slots_for(settings: Settings, apps: list[AppSpec]) -> int:
    """Slots of a node: as the settings say, or more if the examples need them and one more on each node."""
    if not apps or not settings.nodes:
        return settings.slots
    return max(settings.slots, -(-sum(spec.slots for spec in apps) // settings.nodes) + 1)
