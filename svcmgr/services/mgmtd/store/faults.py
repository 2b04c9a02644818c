"""What can go wrong with a store, with the stable code of each.

Theory of operation. Every store maps the errors of its engine to these, so that what uses a store knows none of the
engines. Of each it is known whether the write happened: with all but :class:`StoreUncertain` it did not.
"""

from __future__ import annotations

from svcmgr.errors import Busy, StorageFailed, SvcmgrError


class StoreConflict(SvcmgrError):
    """A check of the batch does not hold any more. Nothing was written; read again and decide again."""

    code = "store-conflict"


class StoreLocked(Busy):
    """Somebody else holds the store's lock for longer than a write waits. Nothing was written."""

    code = "store-locked"


class StoreOverloaded(Busy):
    """More batches wait for the store than it queues. Nothing was written."""

    code = "store-overloaded"


class StoreFull(StorageFailed):
    """No space is left for the store. Nothing was written; what is stored can be read."""

    code = "store-full"


class StoreUncertain(StorageFailed):
    """The storage failed while the write was made durable: it may be there or not. Read it before saying anything."""

    code = "store-uncertain"


class StoreCorrupt(StorageFailed):
    """What is stored is not what a store writes; the message says what was found and where."""

    code = "store-corrupt"


class StoreClosed(SvcmgrError):
    """The store, or the snapshot of it, was closed."""

    code = "store-closed"
