"""Why the targets of a chain are where they are, in sentences.

Theory of operation. The rules that move a target are also its explanation, so nothing is told that did not happen: if
the chain after is what the rules make of the chain before, each target's rule is named. Otherwise somebody else acted,
and the difference is told instead.
"""

from __future__ import annotations

from svcmgr.services.mgmtd.chain import Targets, differs
from svcmgr.services.mgmtd.chains import judge, open_chain, rulings
from svcmgr.services.mgmtd.states import PublicState
from svcmgr.services.mgmtd.targets import ChainTarget


def explain(before: Targets, after: Targets) -> tuple[str, ...]:
    """One sentence for each target: those of ``after`` in order, then those that were removed."""
    if not differs(judge(before), after):
        return tuple(f"target {old.target_id} {_turn(old, rule.state)}: {rule.why}" for old, rule in rulings(before))
    why = "its chain opened" if not differs(open_chain(before), after) else "an operator's change"
    places = {target.target_id: place for place, target in enumerate(before)}
    told = [_told(before, places.get(new.target_id), place, new, why) for place, new in enumerate(after)]
    kept = {target.target_id for target in after}
    gone = [f"target {old.target_id} is removed: {why}" for old in before if old.target_id not in kept]
    return tuple(told + gone)


def _told(before: Targets, was: int | None, place: int, new: ChainTarget, why: str) -> str:
    if was is None:
        return f"target {new.target_id} is added as {new.public.name}: {why}"
    text = f"target {new.target_id} {_turn(before[was], new.public)}"
    if was != place:
        text += f" and moves from place {was + 1} to {place + 1}"
    changed = was != place or before[was].public is not new.public
    return f"{text}: {why}" if changed else f"{text}: unchanged"


def _turn(old: ChainTarget, state: PublicState) -> str:
    if old.public is state:
        return f"stays {state.name}"
    return f"goes {old.public.name} -> {state.name}"
