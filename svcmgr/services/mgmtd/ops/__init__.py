"""The operations of mgmtd, one class for each verb of :mod:`svcmgr.services.mgmtd.wire`."""
