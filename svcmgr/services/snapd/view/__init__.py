"""The activated snapshots as a directory that everybody can look into. Nothing of FUSE is loaded until it is opened."""

from svcmgr.services.snapd.view.view import View

__all__ = ["View"]
