"""mgmtd: the management daemon of a storage cluster."""
