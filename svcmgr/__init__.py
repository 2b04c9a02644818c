"""svcmgr: a glusterd-style supervisor framework for the daemons of one host."""

__version__ = "0.1.0"

#: Version of the local RPC protocol (docs/wire-protocol.md); peers refuse another major number.
PROTOCOL = 1
