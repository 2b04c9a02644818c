"""The difference between the definitions on disk and the services that are owned, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from svcmgr.errors import DependencyCycle
from svcmgr.host import wire
from svcmgr.svc import Graph, Readiness, Service, ServiceSpec, changed_fields
from svcmgr.svc.lifecycle import ACTIVE
from svcmgr.svc.spec import PROCESS_FIELDS


@attrs.frozen
class Plan:
    """What has to be done; ``specs`` are the new definitions of all that is added or changed."""

    changes: list[wire.Change]
    specs: dict[str, ServiceSpec]
    added: list[str]
    removed: list[str]
    restarted: list[str]
    invalid: dict[str, str]


def without_cycles(
    services: Mapping[str, Service], specs: Mapping[str, ServiceSpec], invalid: Mapping[str, str]
) -> tuple[dict[str, ServiceSpec], dict[str, str]]:
    """Take the definitions that close a cycle out of ``specs``, so that the rest can be used.

    ``services`` are those that are owned: a definition that cannot be used keeps the service it had, with its order.
    """
    left, bad = dict(specs), dict(invalid)
    while True:
        kept = {key: service.spec.links for key, service in services.items() if key in bad}
        try:
            Graph(kept | {key: spec.links for key, spec in left.items()})
        except DependencyCycle as error:
            path = [key for key in dict.fromkeys(error.details["path"]) if key in left]
            changed = [key for key in path if key not in services or services[key].spec.links != left[key].links]
            for key in changed or path:
                bad[key] = error.message
                del left[key]
        else:
            return left, bad


def make_plan(services: Mapping[str, Service], specs: Mapping[str, ServiceSpec], invalid: Mapping[str, str]) -> Plan:
    """Compare. A definition that became invalid keeps the service it had."""
    plan = Plan([], {}, [], [], [], dict(invalid))
    for key in sorted({*services, *specs, *invalid}):
        if key in invalid:
            plan.changes.append(wire.Change(key, "invalid", text=invalid[key]))
        elif key not in specs:
            plan.removed.append(key)
            plan.changes.append(wire.Change(key, "remove"))
        elif key not in services:
            plan.added.append(key)
            plan.specs[key] = specs[key]
            plan.changes.append(wire.Change(key, "add"))
        else:
            _compare(plan, services[key], specs[key])
    return plan


def _compare(plan: Plan, service: Service, spec: ServiceSpec) -> None:
    changes = changed_fields(service.spec, spec)
    if not changes:
        return
    restart = bool(PROCESS_FIELDS & changes.keys()) and service.state in ACTIVE
    plan.specs[spec.key] = spec
    if restart:
        plan.restarted.append(spec.key)
    fields = {name: [_plain(old), _plain(new)] for name, (old, new) in changes.items()}
    plan.changes.append(wire.Change(spec.key, "restart" if restart else "live", fields))


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Readiness):
        return str(value)
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return msgspec.to_builtins(value, enc_hook=str)
