"""The difference between the definitions on disk and the services that are owned, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from svcmgr.host import wire
from svcmgr.svc import Readiness, Service, ServiceSpec, changed_fields
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
