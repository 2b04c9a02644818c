"""What mgmtd itself runs with: the keys of :data:`svcmgr.services.mgmtd.config.own.MGMTD`, typed.

Durations in seconds. All are hot: whoever needs one reads it from the settings in force each time.
"""

from __future__ import annotations

from typing import Any

import attrs

from svcmgr.services.mgmtd.config.own import MGMTD
from svcmgr.services.mgmtd.config.schema import Values
from svcmgr.services.mgmtd.lease_terms import Policy
from svcmgr.services.mgmtd.store.retry import Patience


@attrs.frozen(kw_only=True)
class Settings:
    """Fields are named as the keys; made by :func:`settings_of`."""

    lease_length: float
    extend_lease_interval: float
    suspicious_lease_interval: float
    extend_lease_check_release_version: bool
    heartbeat_timestamp_valid_window: float
    allow_heartbeat_from_unregistered: bool
    heartbeat_fail_interval: float
    heartbeat_ignore_stale_targets: bool
    check_status_interval: float
    send_heartbeat_interval: float
    new_chain_bootstrap_interval: float
    bootstrapping_length: float
    update_chains_interval: float
    bump_routing_info_version_interval: float
    try_adjust_target_order_as_preferred: bool
    target_info_persist_interval: float
    target_info_persist_batch: int
    client_session_timeout: float
    only_accept_client_uuid: bool
    update_metrics_interval: float
    retry_times_on_txn_errors: int
    retry_max_backoff: float
    retry_max_count: int

    def policy(self, *, sole_instance: bool) -> Policy:
        """How the lease is held."""
        return Policy(
            length_s=self.lease_length,
            tick_s=self.extend_lease_interval,
            suspicious_s=self.suspicious_lease_interval,
            check_release=self.extend_lease_check_release_version,
            sole_instance=sole_instance,
            bootstrapping_s=self.bootstrapping_length,
        )

    def patience(self) -> Patience:
        """How a failed write is tried again."""
        rounds = self.retry_times_on_txn_errors
        return Patience(
            most_s=self.retry_max_backoff, tries=self.retry_max_count + 1, rounds=None if rounds < 0 else rounds
        )


#: Keys that are tables in TOML, and the fields they are here.
_RENAMED = {
    "retry_transaction.max_backoff": "retry_max_backoff",
    "retry_transaction.max_retry_count": "retry_max_count",
}


def settings_of(values: Values) -> Settings:
    """The settings that ``values``, a reading of the schema, say."""
    known = {field.name for field in attrs.fields(Settings)}
    named: dict[str, Any] = {_RENAMED.get(key, key): value for key, value in values.items()}
    return Settings(**{name: value for name, value in named.items() if name in known})


DEFAULTS = settings_of(MGMTD.defaults())
