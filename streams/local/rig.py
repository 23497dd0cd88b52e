"""A rig: a whole platform of its own, real in every part, for integration tests and benches. Shell.

    with Rig(folder, bootstrap=broker.bootstrap) as rig:
        rig.start(workers=2, nodes=3, slots=4)
        rig.run_apps(["application-a", "application-b"])
        rig.kill(rig.agent_pid(rig.node_of("application-a")))
        rig.wait(lambda state: state.apps["application-a"].phase == "running", within_s=10)

1. A prefix, a range of ports and a folder of its own: many rigs share a broker and a machine.
2. It runs what `up` runs, with the same arguments; workers and provisioner are started again when they die.
3. `close` leaves nothing behind and raises if something could not be ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Self, TypeVar

from sdk.contract.codec import Recorded
from sdk.contract.heartbeats import PoolReport, Report
from sdk.contract.ids import pool_id
from sdk.contract.requests import ChangePolicy, ConfigurePool, Request, RunApp, StopApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import Topics
from streams.local.broker import LocalBroker
from streams.local.child import ChildSpec
from streams.local.ports import find_free_ports, free_port_base
from streams.local.processes import MARK_ENV, run_mark
from streams.local.rig_children import CopyWatch, Minded, Running, kill_marked, running_copies
from streams.local.rig_log import Heard, RigLog, Seen
from streams.local.stack import plan_children
from streams.pool_plans import plan_pools
from streams.settings import Settings
from streams.topics import ensure_topics
from streams.verifying import verify
from tables.invariants import check_invariants
from tables.state import State, is_hosted

T = TypeVar("T")

POOL: Final = pool_id("local")
#: An app that does nothing but beat.
BEATING: Final = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
#: A platform is up in 4 to 8 s on two free cores.
START_WITHIN_S: Final = 60.0
ANSWER_WITHIN_S: Final = 30.0


class Rig:
    """One platform; `start` starts it, `close` ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        bootstrap: str | None = None,
        broker: LocalBroker | None = None,
        via: str = "",
        log_level: str = "info",
        **settings: object,
    ) -> None:
        """Prepare a rig that keeps everything in `folder`; without `bootstrap` it has a broker of its own.

        `settings` are what `up` would be given. Its children reach the broker through `via` if that is given.
        """
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.broker: LocalBroker | None = broker
        if broker is not None:
            bootstrap = broker.bootstrap
        if bootstrap is None:
            port, controller_port = find_free_ports(2)
            self.broker = LocalBroker(
                self.folder / "kafka",
                port=port,
                controller_port=controller_port,
                bridge=str(settings.get("docker_bootstrap", "")),
            )
            bootstrap = self.broker.bootstrap
        self.bootstrap = bootstrap
        self.prefix = f"rig-{uuid.uuid4().hex[:8]}"
        self.topics = Topics(self.prefix)
        self.port_base = free_port_base()
        self.mark = run_mark(self.folder)
        self.log = RigLog(self.bootstrap, self.prefix)
        self.workers: dict[str, Minded] = {}
        #: By the name of their process.
        self.provisioners: dict[str, Minded] = {}
        self._via = via or bootstrap
        self._settings: dict[str, object] = {"log_level": log_level, **settings}
        #: The pools whose nodes it runs.
        self.pools: list[str] = [POOL]
        self._is_closed = False

    def __enter__(self) -> Self:
        """The rig itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def set(self, key: str, value: object) -> None:
        """Give a setting that depends on the rig, such as ports, before it starts."""
        self._settings[key] = value

    # --- life ---------------------------------------------------------------------------------------

    def start(
        self,
        *,
        workers: int = 2,
        nodes: int = 3,
        slots: int = 4,
        policy: dict[str, int | bool | str] | None = None,
        within_s: float = START_WITHIN_S,
        provisioner: bool = True,
    ) -> None:
        """Start everything and return once a worker leads and all nodes are active.

        Without `provisioner` whoever calls is it, and has to see to the nodes.
        """
        if self.broker is not None:
            self.broker.start()
        faults = ensure_topics(self.bootstrap, self.prefix)
        assert not faults, faults
        self.log.start()
        self._plan(workers)
        if not provisioner:
            self.provisioners.clear()
        for minded in self.minded:
            minded.start()
        if policy:
            self.change_policy(**policy)
        self.ask(ConfigurePool(POOL, nodes=nodes, slots=slots), within_s=within_s)
        if provisioner:
            self.wait_active(nodes, within_s=within_s)

    def close(self) -> None:
        """Kill whatever the rig started.

        Raises:
            RuntimeError: something is left.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for minded in self.minded:
            minded.forsake()
        left = kill_marked(self.mark)
        for minded in self.minded:
            minded.kill()
        left = left or kill_marked(self.mark)
        self.log.close()
        if self.broker is not None:
            self.broker.kill()
        if left:
            raise RuntimeError(f"the rig could not end {left}")

    @property
    def minded(self) -> list[Minded]:
        """Every process that the rig keeps running."""
        return [*self.workers.values(), *self.provisioners.values()]

    @property
    def provisioner(self) -> Minded | None:
        """The provisioner of the only pool, or of the first."""
        return next(iter(self.provisioners.values()), None)

    def _plan(self, workers: int) -> None:
        settings = Settings(
            bootstrap_servers=self._via,
            prefix=self.prefix,
            data_dir=str(self.folder),
            workers=workers,
            node_port_base=self.port_base,
            # The broker is one of ours, so it allows what `up` uses on its own.
            session_timeout_ms=3_000,
            session_heartbeat_ms=750,
            **self._settings,  # type: ignore[arg-type]  # checked by the children
        )
        self.pools = [pool_id(plan.name) for plan in plan_pools(settings)]
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        for child in plan_children(settings, None, demo=False):
            if child.once:
                continue
            env = {**child.env, MARK_ENV: self.mark}
            minded = Minded(
                self.argv_of(child), env=env, cwd=child.cwd or ".", log=logs / f"{child.name}.log"
            )
            if child.name.startswith("provisioner"):
                self.provisioners[child.name] = minded
            else:
                self.workers[child.name] = minded

    def argv_of(self, child: ChildSpec) -> list[str]:
        """What is run for a child of `up`; a rig with parts of its own says otherwise."""
        return child.argv

    # --- asking -------------------------------------------------------------------------------------

    def send(self, request: Request) -> str:
        """Send a request and return its id; `log.answers` will have the event that answered it."""
        return self.log.ask(request)

    def ask(self, request: Request, *, within_s: float = ANSWER_WITHIN_S) -> Seen:
        """Send a request and return the event that answered it."""
        request_id = self.send(request)
        return self.wait(
            lambda _: self.log.answers.get(request_id),
            within_s=within_s,
            what=f"an answer to {request!r:.200}",
        )

    def change_policy(self, **values: int | bool | str) -> None:
        """Change policy keys."""
        self.ask(ChangePolicy(dict(values)))

    def run_apps(
        self, apps: Iterable[str | AppSpec], *, within_s: float = 20.0, wait: bool = True
    ) -> list[str]:
        """Ask for apps (a name alone means one that only beats) and wait until all of them beat."""
        specs = [app if isinstance(app, AppSpec) else AppSpec(app=app, command=BEATING) for app in apps]
        sent = [self.send(RunApp(spec)) for spec in specs]
        names = [spec.app for spec in specs]
        self.wait(
            lambda _: all(request in self.log.answers for request in sent),
            within_s=within_s,
            what=f"answers to the requests to run {names}",
        )
        if wait:
            self.wait_running(names, within_s=within_s)
        return names

    def stop_apps(self, apps: Iterable[str], *, within_s: float = 20.0) -> None:
        """Ask for apps to stop and wait until they have."""
        names = list(apps)
        for app in names:
            self.ask(StopApp(app))
        self.wait(
            lambda state: all(state.apps[app].phase == "stopped" for app in names),
            within_s=within_s,
            what=f"{names} stopped",
        )

    # --- looking ------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fold of the log as far as it was read; the caller's own."""
        return self.log.copy_state()

    def events(self, since: int = 0) -> list[Seen]:
        """The log from an offset on: offset, append time, record, and what the fold made of it."""
        return self.log.events(since)

    def accepted(self, kind: type[T], since: int = 0) -> list[tuple[Seen, T]]:
        """The events of one kind that counted, from an offset on."""
        return [
            (seen, seen.said.event)
            for seen in self.events(since)
            if isinstance(seen.said, Recorded) and isinstance(seen.said.event, kind) and seen.outcome.accepted
        ]

    def reports(self, since_ms: int = 0) -> list[Heard]:
        """Reports, hellos and beats with their append times."""
        return self.log.reports(since_ms)

    def wait(self, condition: Callable[[State], T | None], *, within_s: float = 20.0, what: str = "") -> T:
        """The first true answer of a condition on the state, or a TimeoutError that quotes the last events."""
        return self.log.wait(condition, within_s=within_s, what=what)

    def wait_active(self, nodes: int, *, within_s: float = 30.0) -> list[str]:
        """Wait for as many active nodes that speak, and return them."""
        return self.wait(
            lambda state: found if len(found := active_nodes(state)) == nodes else [],
            within_s=within_s,
            what=f"{nodes} active nodes",
        )

    def wait_running(self, apps: Iterable[str], *, within_s: float = 20.0) -> None:
        """Wait until all these apps run undisturbed."""
        names = list(apps)
        self.wait(
            lambda state: all(is_running(state, app) for app in names),
            within_s=within_s,
            what=f"{names} running",
        )

    def wait_time(self, duration_s: float, *, what: str = "a stretch of log time") -> None:
        """Wait until the append times of the heartbeats have advanced by `duration_s`."""
        until_ms = self.log.tick_ms + int(duration_s * 1000)
        self.wait(lambda _: self.log.tick_ms >= until_ms, within_s=duration_s * 2 + 60, what=what)

    def hold(self, duration_s: float) -> None:
        """Let a scenario last: for stretches in which nobody can append, so that no record can be waited for."""
        deadline_s = time.monotonic() + duration_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))

    def first_beat_ms(self, app: str, generation: int) -> int | None:
        """Append time of the first report that names this generation as beating."""
        for heard in self.reports():
            if isinstance(heard.said, Report):
                for entry in heard.said.apps:
                    if (entry.app, entry.generation, entry.status) == (app, generation, "running"):
                        return heard.append_ms
        return None

    # --- processes ----------------------------------------------------------------------------------

    def node_of(self, app: str) -> str:
        """The node of the generation in force."""
        return self.wait(lambda state: state.apps[app].node, what=f"{app} placed")

    def agent_pid(self, node: str) -> int:
        """The agent's process, which leads the group of the node, as its provisioner reports it."""
        return self.wait(lambda _: self._agent_pid(node), what=f"the pid of {node} in a report of its pool")

    def _agent_pid(self, node: str) -> int:
        for pool in self.pools:
            newest = self.log.newest(pool)
            nodes = newest.said.nodes if newest is not None and isinstance(newest.said, PoolReport) else []
            for entry in nodes:
                if entry.node == node:
                    return entry.pid
        return 0

    def app_pid(self, app: str) -> int:
        """The process of the generation in force, as its agent reports it."""
        return self.wait(lambda state: self._app_pid(state, app), what=f"the pid of {app} in a report")

    def _app_pid(self, state: State, app: str) -> int:
        row = state.apps[app]
        newest = self.log.newest(row.node)
        if newest is None or not isinstance(newest.said, Report):
            return 0
        wanted = (app, row.generation)
        return next((it.pid for it in newest.said.apps if (it.app, it.generation) == wanted), 0)

    def worker_pid(self, name: str) -> int:
        """The process of a worker, 0 while it is dead."""
        return self.workers[name].pid

    def leader(self) -> str:
        """The name of the worker whose decisions count."""
        return self.wait(
            lambda state: state.term.writer.split("/")[1] if state.term.writer else "", what="a leader"
        )

    def copies(self) -> list[Running]:
        """The processes of apps that run on this machine now, stopped ones included."""
        return running_copies(self.mark)

    def watch_copies(self) -> CopyWatch:
        """A context in which apps of which two generations run at once are noted."""
        return CopyWatch(self.mark)

    def kill(self, pid: int) -> None:
        """`kill -9`."""
        os.kill(pid, signal.SIGKILL)

    def stop(self, pid: int, *, group: bool = False) -> None:
        """`kill -STOP`, of the whole process group if asked to."""
        (os.killpg if group else os.kill)(pid, signal.SIGSTOP)

    def cont(self, pid: int, *, group: bool = False) -> None:
        """`kill -CONT`."""
        (os.killpg if group else os.kill)(pid, signal.SIGCONT)

    # --- checking -----------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """What differs between the view and the log, and which invariants are broken; empty if all is well."""
        found = asyncio.run(verify(self.bootstrap, self.prefix)).differences
        return [*found, *check_invariants(self.state())]


def active_nodes(state: State) -> list[str]:
    """The nodes that are active and speak."""
    return sorted(node for node, row in state.nodes.items() if row.status == "active" and not row.silent)


def is_running(state: State, app: str) -> bool:
    """Whether the app runs undisturbed."""
    row = state.apps.get(app)
    return row is not None and row.phase == "running" and not row.silent and is_hosted(state, row)
