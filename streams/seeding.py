"""The first wishes of a new platform: its pools, its policy and, if asked, the example applications. Shell.

Nothing is asked for twice: what the log already has stays as it is, whatever the settings say today.
"""

from __future__ import annotations

from sdk.contract.ids import pool_id
from sdk.contract.policy import policy_from
from sdk.contract.requests import ChangePolicy, Request, RunApp
from sdk.contract.specs import AppSpec
from streams.asking import ANSWER_WITHIN_S, open_conversation
from streams.pool_plans import plan_pools
from streams.settings import PROJECT_ROOT, Settings
from streams.spec_files import load_specs
from tables.state import State

EXAMPLES = PROJECT_ROOT / "examples" / "apps.toml"


async def seed(settings: Settings, *, demo: bool = False, timeout_s: float = ANSWER_WITHIN_S) -> list[str]:
    """Ask for what the log lacks; return what was asked for, in words.

    Raises:
        CommandError: a wish was refused or nobody answered, or the example applications cannot be read.
    """
    async with open_conversation(settings.bootstrap, settings.prefix) as conversation:
        wishes = list_wishes(conversation.state, settings, load_specs(EXAMPLES).specs if demo else [])
        for request in wishes.values():
            await conversation.ask(request, timeout_s=timeout_s, asker="up")
        return list(wishes)


def list_wishes(state: State, settings: Settings, apps: list[AppSpec]) -> dict[str, Request]:
    """What the log lacks, by its name for people."""
    wishes: dict[str, Request] = {}
    for plan in plan_pools(settings):
        if pool_id(plan.name) not in state.pools:
            spares = f" and {plan.spares} spares" if plan.spares else ""
            wishes[f"pool {plan.name} with {plan.nodes} nodes{spares}"] = plan.wish()
    if state.policy_row.offset < 0 and settings.policy and policy_from(settings.policy) != state.policy:
        wishes["policy"] = ChangePolicy(dict(settings.policy))
    for spec in apps:
        if spec.app not in state.apps:
            wishes[spec.app] = RunApp(spec)
    return wishes
