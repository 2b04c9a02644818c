"""Ways of taking snapshots. The door."""

from svcmgr.services.snapd.methods.base import Method as Method
from svcmgr.services.snapd.methods.choosing import best_for as best_for
from svcmgr.services.snapd.methods.choosing import choose as choose
