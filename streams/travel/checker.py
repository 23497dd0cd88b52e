"""The independent checker: facts derived again from the cited heartbeats, decisions from the cited records. Pure.

It shares the contract (words, codec, ids) with the live code and nothing else: no fold, log clock, watcher or planner.
Under 300 lines, so that a person can read it before believing it. A record is `proven` if what it claims follows from
the records that it cites; `recorded` if those are not retained any more, or it rests on what no record says; `stated`
if it is neither fact nor decision; `void` if it is a decision of a term that is over; else `failed`.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded, decode_event, decode_heartbeat
from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Tick, Unchanged
from sdk.contract.ids import derive_id
from sdk.contract.policy import Policy

#: How early a timer may fire, ms; longest text of an end; largest load per core; age of what a bridge's tick says, ms.
TIMER_SLACK_MS, DETAIL_MAX, LOAD_MAX, BRIDGE_LAG_MS = 1_000, 300, 100.0, 500
_HELLO = ("claim", "order", "ip", "port", "pool", "slots", "drivers", "boot_id")
#: A heartbeat: append time, value. Heartbeats: partition -> offset -> record.
Heard = tuple[int, bytes | None]
Beats = Mapping[int, Mapping[int, Heard]]
Key = tuple[str | int, ...]
Reports = Report | PoolReport | Unchanged


def _table(text: str) -> dict[Any, list[str]]:
    return {getattr(e, line.split()[0]): line.split()[1:] for line in text.split(",")}


#: What ids of facts are derived from; under what some records are remembered; what a decision may name by its fields.
_IDS = _table(
    "NodeRegistered registered node claim, ProvisionerRegistered registered pool claim, NodeExited node-exited order,"
    "SourceFellSilent silent source epoch topic_id partition from_offset,"
    "AppStarted started app generation, AppExited exited app generation"
)
_KEYS = _table(
    "NodeExited node-exited order, AppExited ended app generation, AppDeclaredDown ended app generation,"
    "NodeDownConfirmed confirmed node, TimerFired fired key set_at, PoolConfigured pool pool, NodeOrdered order offset,"
    "AppSubmitted app spec.app, NodeRequested grant offset, NodeRegistered node node offset,"
    "AppPlaced copy app offset, AppPrepared copy app offset, SourceExpected bridged source,"
    "DeviceRegistered bridged device.device"
)
_NAMES = ("pool pool", "app app", "grant grant", "order order", "node node registration")
_COPIES = ("copy app generation", "copy app replaces", "copy app beside")


class Finding(NamedTuple):
    """What the checker makes of one record of the log."""

    offset: int
    verdict: str
    text: str = ""


class FaultError(ValueError):
    """A record is not proven: the verdict and what the records say instead."""


class Checker:
    """Reads a log from its beginning and judges each record; its memory is a few tables of its own."""

    def __init__(self, topic_id: str) -> None:
        self._topic_id = topic_id  # of the heartbeats that can be read; facts about another are only recorded
        self.named_topic = ""  # of those that the last fact which names a topic is about
        self._policies: list[tuple[int, Policy]] = [(-1, Policy())]
        self._requests: set[str] = set()
        self._term, self._fold_version = -1, 0
        #: (source, epoch) -> [(log offset, heartbeat offset, whether it fell silent)]
        self.silences: dict[Key, list[tuple[int, int, bool]]] = {}
        #: What happened -> the log offsets at which; (source, epoch) -> the claim that won it, a node's order.
        self._seen: dict[Key, list[int]] = {}
        self._won: dict[Key, tuple[str, int]] = {}
        #: Sensor -> its type, and how long it, or sensors of a type, were ever allowed to be silent.
        self._type_of: dict[str, str] = {}
        self._limits: dict[str, set[int]] = {}
        # The last append time; from where on the broker's clock was set back; what the decision that is judged knew.
        self._append_ms, self._back_at, self._until = 0, -1, -1
        #: Log offset -> append time and the time it asked for; (term, based_on) -> offset of its last decision.
        self._asked: dict[int, tuple[int, int]] = {}
        self._batch: dict[tuple[int, int], int] = {}

    def check(self, offset: int, append_ms: int, raw: bytes | None, beats: Beats) -> Finding:
        """Judge one record; records come in the order of the log, `beats` has what it cites."""
        try:
            recorded = decode_event(raw)
        except DecodeError:
            return Finding(offset, "stated", "no event of ours")
        self._back_at = offset if append_ms < self._append_ms else self._back_at
        self._append_ms = append_ms
        if getattr(recorded.event, "term", self._term) != self._term:
            return Finding(offset, "void", "its term is over")
        if isinstance(recorded.event, e.SourceFellSilent | e.SourceReturned):
            self.named_topic = recorded.event.topic_id
        beats = beats if self.named_topic == self._topic_id else {}
        verdict, text = "proven", ""
        try:
            self._judge(offset, append_ms, recorded, beats)
        except FaultError as fault:
            verdict, text = fault.args
        self._remember(offset, append_ms, recorded.event)
        return Finding(offset, verdict, text)

    def _remember(self, offset: int, append_ms: int, x: Any) -> None:
        self._asked[offset] = append_ms, getattr(x, "for_ms", 0) or getattr(x, "wake_ms", 0)
        if isinstance(x, e.PlannerStarted) and x.fold_version >= self._fold_version:
            self._term, self._fold_version = offset, x.fold_version
        elif isinstance(x, e.PolicyChanged) and x.request not in self._requests:
            self._requests.add(x.request)
            self._policies.append((offset, x.policy))
        elif isinstance(x, e.SourceFellSilent | e.SourceReturned):
            at, fell = (x.from_offset, True) if isinstance(x, e.SourceFellSilent) else (x.offset, False)
            self.silences.setdefault((x.source, x.epoch), []).append((offset, at, fell))
        elif isinstance(x, e.NodeRegistered | e.ProvisionerRegistered):
            self._won[getattr(x, "node", x.pool), offset] = x.claim, getattr(x, "order", 0)
        elif isinstance(x, e.DeviceRegistered):
            self._type_of[x.device.device] = x.device.type
            self._limits.setdefault(x.device.device, set()).add(x.device.silence_limit_ms)
        elif isinstance(x, e.SensorLimitChanged):
            self._limits.setdefault(f"type {x.type}", set()).add(x.silence_limit_ms)
        elif isinstance(x, e.SourceForgotten):
            self._seen.pop(("bridged", x.source), None)
        if words := _KEYS.get(type(x)):
            self._seen.setdefault(_filled(words, x, offset), []).append(offset)
        if hasattr(x, "based_on"):
            self._batch[x.term, x.based_on] = offset

    def _knows(self, *key: str | int) -> bool:
        return any(at <= self._until for at in self._seen.get(key, ()))

    def _silence_of(self, source: str, epoch: int) -> int:
        """The beat that the silence in force began from, as of the decision; raises if it was not silent."""
        known = ((beat, at, fell) for at, beat, fell in self.silences.get((source, epoch), ()))
        newest, _, silent = max((each for each in known if each[1] <= self._until), default=(-1, -1, False))
        _need(silent, "it was not silent")
        return newest

    def _judge(self, offset: int, append_ms: int, recorded: Recorded, beats: Beats) -> None:
        x: Any = recorded.event
        if words := _IDS.get(type(x)):
            more = (x.limit_ms,) if getattr(x, "kind", "") == "sensor" else ()
            _need(recorded.id == derive_id(*_filled(words, x), *more), "its id is not that of what it says")
        is_fact = isinstance(x, e.SourceFellSilent | e.SourceReturned) or hasattr(x, "position")
        _need(is_fact or hasattr(x, "based_on"), "no heartbeat and no decision is behind it", "stated")
        if isinstance(x, e.SourceFellSilent):
            claim = self._won.get((x.source, x.epoch), ("", 0))[0]
            policies = [policy for _, policy in self._policies[-2:]]
            limits = {policy.silence_limit_ms for policy in policies}
            if x.kind == "sensor":
                names = (x.source, f"type {self._type_of.get(x.source)}")
                limits = {limit for name in names for limit in self._limits.get(name, ())} - {0}
            _need(x.limit_ms in limits, f"the limit was {sorted(limits)} ms")
            bridge = self._seen.get(("bridged", x.source), [-1])[0]
            bridged = self._asked.get(bridge, (1 << 60, 0))[0], bridge
            faults = {_silence_fault(x, policy, claim, bridged, beats) for policy in policies}
            changed_ms, _ = self._asked.get(self._policies[-1][0], (-1, 0))
            since_ms = beats[x.partition].get(max(x.from_offset, 0), (0, None))[0]
            _need("" in faults, "; ".join(sorted(faults)), "failed" if changed_ms < since_ms else "recorded")
        elif isinstance(x, e.SourceReturned):
            heard = _at(beats, x.partition, x.offset)
            runs = [entry.status for entry in _entries(heard, x.source, x.epoch)] not in ([], ["exited"])
            runs = runs if x.kind == "app" else _beats(heard, x.source, x.epoch, "")
            _need(runs, "no beat of it stands there")
        elif is_fact:
            says = _says(_at(beats, x.position.partition, x.position.offset), x)
            _need(says, "the cited heartbeat does not say so")
        else:
            self._until = max(x.based_on, self._batch.get((x.term, x.based_on), -1))
            _need(x.based_on < offset, "it was decided before what it is based on")
            policy = max(at for at, _ in self._policies if at <= x.based_on)
            _need(x.policy == policy, f"the policy in force was that of offset {policy}")
            self._decision(append_ms, x, beats)

    def _decision(self, append_ms: int, x: Any, beats: Beats) -> None:
        for kind, *fields in map(str.split, _NAMES + _COPIES):
            named = [getattr(x, field, 0) for field in fields]
            _need(not all(named) or self._knows(kind, *named), f"nothing before it says {kind} {named}")
        match x:
            case e.NodeDeclaredDown():
                self._node_down(x, beats)
            case e.AppDeclaredDown(reason="silent"):
                self._silence_of(x.app, x.generation)
            case e.AppDeclaredDown():
                _need(self._knows("fired", x.app, x.generation), "its time was not over")
            case e.AppPlaced() | e.AppPrepared():
                if isinstance(x, e.AppPlaced) and x.reason == "failure":
                    _need(self._knows("ended", x.app, x.replaces), "what it replaces had not ended")
                _check_ranking(x, beats)
            case e.TimerFired():
                asked_ms, wake_ms = self._asked.get(x.set_at, (append_ms, 1 << 60))
                _need(self._back_at <= x.set_at, "the broker's clock was set back meanwhile", "recorded")
                _need(asked_ms + wake_ms - append_ms <= TIMER_SLACK_MS, "it fired before its time")
                _need(wake_ms > 0, "its time was made by the fold", "recorded")
            case e.AppHeldBack() | e.AppGaveUp():
                _need(self._knows("ended", x.app, x.generation), "its copy had not ended")

    def _node_down(self, x: Any, beats: Beats) -> None:
        claim, order = self._won[x.node, x.registration]
        newest = -1 if x.reason == "exited" else self._silence_of(x.node, x.registration)
        told = self._knows("confirmed", x.node) or self._knows("node-exited", order)
        _need(x.fence is not None if x.reason == "silent" else told, "nobody said that it is gone")
        for at in range(newest + 1, x.fence.offset + 1 if x.reason == "silent" else 0):
            beat = _beats(_at(beats, x.fence.partition, at), x.node, x.registration, claim)
            _need(not beat, f"it beat again at heartbeat {x.fence.partition}/{at}, before the fence")


def _at(beats: Beats, partition: int, offset: int) -> Heartbeat | None:
    heard = beats.get(partition, {}).get(offset)
    _need(heard is not None, f"heartbeat {partition}/{offset} is not retained any more", "recorded")
    try:
        return decode_heartbeat(heard[1]) if heard else None
    except DecodeError:
        return None


def _beats(heard: Heartbeat | None, source: str, epoch: int, claim: str) -> bool:
    if isinstance(heard, Beat):
        return heard.source == source and heard.epoch >= epoch
    if isinstance(heard, Hello):
        return heard.reporter == source and heard.claim == claim
    return isinstance(heard, Reports) and heard.reporter == source and heard.registration >= epoch


def _entries(heard: Heartbeat | None, app: str, generation: int) -> list[Any]:
    return [each for each in getattr(heard, "apps", ()) if (each.app, each.generation) == (app, generation)]


def _silence_fault(x: Any, policy: Policy, claim: str, bridged: tuple[int, int], beats: Beats) -> str:
    """Why the heartbeats do not bear out a silence under a policy; empty if they do."""
    begin, until = max(x.from_offset, 0), _at(beats, x.partition, x.until_offset)
    if x.kind == "app":
        ages = [entry.age_ms for entry in _entries(until, x.source, x.epoch)]
        return "" if ages == [x.silent_ms] and ages[0] >= x.limit_ms else f"the report says {ages}"
    first, elapsed, cut, bridges, spoke = _at(beats, x.partition, begin), 0, -1, 0, -policy.clock_step_max_ms
    bridge = bridged[1] if bridged[0] < beats[x.partition][begin][0] else 0
    for at in range(begin + 1, x.until_offset + 1):
        record = _at(beats, x.partition, at)
        step = beats[x.partition][at][0] - beats[x.partition][at - 1][0]
        elapsed += min(max(step, 0), policy.clock_step_max_ms)
        cut = elapsed if step > policy.clock_step_max_ms else cut
        if isinstance(record, Tick) and record.bridged:
            bridges, spoke = bridges + min(elapsed - spoke, policy.clock_step_max_ms), elapsed
        _need(not _beats(record, x.source, x.epoch, claim), f"it beat at heartbeat {x.partition}/{at}")
    most = x.limit_ms + policy.settling_in_all_ms
    due = x.limit_ms if cut < 0 else max(x.limit_ms, min(cut + policy.settling_ms, most))
    if bridge and (bridges <= x.limit_ms + BRIDGE_LAG_MS or getattr(until, "bridged", 0) < bridge):
        return f"its topic was read for {bridges} ms"
    if elapsed <= due or not isinstance(until, Tick):
        return f"{elapsed} ms passed up to a {type(until).__name__}, and it had {due}"
    if not x.limit_ms <= x.limit_ms + x.postponed_ms < x.silent_ms:
        return f"{x.silent_ms} ms are not over the limit and {x.postponed_ms} ms of settling"
    # Waiting may have begun after the record that is cited: the log was read later, or somebody began to expect it.
    began_later = elapsed > x.silent_ms > x.limit_ms and not isinstance(first, Beat | Reports)
    begins = _beats(first, x.source, x.epoch, claim) or not x.epoch
    exact = (elapsed == x.silent_ms and begins) or began_later
    return "" if exact else f"{elapsed} ms passed since the cited beat"


def _says(heard: Any, x: Any) -> bool:
    """Whether a report or hello says what a fact claims."""
    match x, heard:
        case ((e.NodeRegistered() | e.ProvisionerRegistered()), Hello()):
            words = _HELLO if isinstance(x, e.NodeRegistered) else ("claim", "boot_id")
            same = all(getattr(heard, word) == getattr(x, word) for word in words)
            return same and heard.reporter == (x.node if isinstance(x, e.NodeRegistered) else x.pool)
        case ((e.AppStarted() | e.AppExited()), Report()):
            found = _entries(heard, x.app, x.generation)
            if isinstance(x, e.AppExited) and x.reason == "lost":
                return heard.reporter == x.node and not found and heard.as_of >= x.generation
            if heard.reporter != x.node or len(found) != 1 or isinstance(x, e.AppStarted):
                return heard.reporter == x.node and [entry.status for entry in found] == ["running"]
            ended = ("exited", x.exit_code) == (found[0].status, found[0].exit_code)
            return ended and x.detail in ("", found[0].reason[:DETAIL_MAX])
        case e.NodeExited(), PoolReport():
            nodes = [entry.status for entry in heard.nodes if entry.order == x.order]
            known = [["exited"], []] if heard.as_of >= x.order else [["exited"]]
            return heard.reporter == x.pool and nodes in known
    return False


def _filled(words: list[str], x: Any, offset: int = -1) -> Key:
    return words[0], *(offset if word == "offset" else attrgetter(word)(x) for word in words[1:])


def _need(holds: bool, fault: str, verdict: str = "failed") -> None:
    if not holds:
        raise FaultError(verdict, fault)


def _check_ranking(x: e.AppPlaced | e.AppPrepared, beats: Beats) -> None:
    ranks = [(each.failed, each.copies, each.distance, each.cost, each.node) for each in x.ranking]
    _need(not ranks or (ranks == sorted(ranks) and ranks[0][-1] == x.node), "another node ranks first")
    for each, at in ((score, score.measured) for score in x.ranking if score.measured is not None):
        heard: Any = _at(beats, at.partition, at.offset)
        load = round(min(max(getattr(heard, "load", -1.0), 0.0), LOAD_MAX) * 1_000)
        same = (each.node, each.cpu_permille) == (getattr(heard, "reporter", ""), load)
        _need(same, f"the load of {each.node} is not what it reported")
