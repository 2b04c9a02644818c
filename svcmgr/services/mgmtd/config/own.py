"""The configuration of mgmtd itself.

The keys, defaults and meanings are those of deepseek-ai/3FS, src/mgmtd/service/MgmtdConfig.h. Left out are what is
deprecated there (heartbeat_ignore_unknown_targets) and what belongs to its own token users (user_cache): here a key of
the transport says who is who.
"""

from __future__ import annotations

from svcmgr.services.mgmtd.config.kinds import Bool, Duration, Integer
from svcmgr.services.mgmtd.config.schema import Key, Rule, Schema, Values

#: Shortest time between two rounds of a worker, seconds.
_ROUND = Duration(0.01, 86400.0)
_SPAN = Duration(0.001)

_LEASE = (
    Key("lease_length", _SPAN, 60.0, "How long a lease holds when it is not extended."),
    Key("extend_lease_interval", _ROUND, 10.0, "How often the lease is extended, or tried to be taken."),
    Key("suspicious_lease_interval", _SPAN, 20.0, "A lease that ends sooner than this is trusted no more."),
    Key("extend_lease_check_release_version", Bool(), True, "An older release may not take or extend a live lease."),
    Key("validate_lease_on_write", Bool(), True, "Read the lease again in every transaction that writes."),
)
_HEARTBEATS = (
    Key("heartbeat_timestamp_valid_window", Duration(), 30.0, "How far a sender's clock may be off; 0: any."),
    Key("allow_heartbeat_from_unregistered", Bool(), False, "Register a node by its first heartbeat."),
    Key("heartbeat_fail_interval", _SPAN, 60.0, "Silence after which a node or a target has failed."),
    Key("heartbeat_ignore_stale_targets", Bool(), True, "Ignore reports on targets with an older chain version."),
    Key("check_status_interval", _ROUND, 10.0, "How often heartbeats, sessions and new chains are checked."),
    Key("send_heartbeat", Bool(), True, "Send heartbeats to the primary while this one is not."),
    Key("send_heartbeat_interval", _ROUND, 10.0, "How often they are sent."),
)
_CHAINS = (
    Key("new_chain_bootstrap_interval", Duration(), 120.0, "How long a new chain is not judged."),
    Key("bootstrapping_length", Duration(), 120.0, "How long after an election readers are told that news is missing."),
    Key("update_chains_interval", _ROUND, 1.0, "How often chains are judged."),
    Key("bump_routing_info_version_interval", _ROUND, 5.0, "How often the routing version goes up for small changes."),
    Key("try_adjust_target_order_as_preferred", Bool(), False, "Move targets of chains to the preferred order."),
    Key("target_info_persist_interval", _ROUND, 1.0, "How often locations of targets are stored."),
    Key("target_info_persist_batch", Integer(1, 100_000, "targets"), 1000, "How many are stored at once."),
    Key("target_info_load_interval", _ROUND, 1.0, "How often loading them is tried after an election."),
    Key("enable_routinginfo_cache", Bool(), True, "Give all readers of one routing version the same bytes."),
)
_OTHERS = (
    Key("client_session_timeout", _SPAN, 1200.0, "How long a client session lives without being extended."),
    Key("only_accept_client_uuid", Bool(), False, "Refuse client ids that are no UUID."),
    Key("update_metrics_interval", _ROUND, 1.0, "How often gauges are computed."),
    Key("authenticate", Bool(), False, "Ask for an admin key for operations that change something."),
    Key(
        "retry_times_on_txn_errors",
        Integer(-1, 1_000_000, "times"),
        -1,
        "How often a failed write is begun again; -1: always.",
    ),
    Key("retry_transaction.max_backoff", _SPAN, 1.0, "Longest pause between two attempts of one transaction."),
    Key(
        "retry_transaction.max_retry_count", Integer(0, 1_000, "times"), 10, "How often one transaction is tried again."
    ),
)


def _lease_outlives_ticks(values: Values) -> bool:
    return _seconds(values, "extend_lease_interval") + _seconds(values, "suspicious_lease_interval") < _seconds(
        values, "lease_length"
    )


def _heartbeats_in_time(values: Values) -> bool:
    return _seconds(values, "send_heartbeat_interval") < _seconds(values, "heartbeat_fail_interval")


def _seconds(values: Values, key: str) -> float:
    found = values[key]
    return float(found) if isinstance(found, int | float) else 0.0


#: All hot: a running mgmtd takes any of them.
MGMTD = Schema(
    "mgmtd",
    (*_LEASE, *_HEARTBEATS, *_CHAINS, *_OTHERS),
    (
        Rule(
            ("lease_length", "extend_lease_interval", "suspicious_lease_interval"),
            _lease_outlives_ticks,
            "extend_lease_interval and suspicious_lease_interval together must be less than lease_length, or the "
            "primary would distrust its own lease between two ticks",
        ),
        Rule(
            ("send_heartbeat_interval", "heartbeat_fail_interval"),
            _heartbeats_in_time,
            "send_heartbeat_interval must be less than heartbeat_fail_interval, or every node would fail between two",
        ),
    ),
)
