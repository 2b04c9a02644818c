"""volume: volumes, their options and snapshots, and volfiles, as values. The door of the room; all of it is pure."""

from svcmgr.volume.free import Free as Free
from svcmgr.volume.free import parse_free as parse_free
from svcmgr.volume.info import Status as Status
from svcmgr.volume.info import Volume as Volume
from svcmgr.volume.info import check_bricks as check_bricks
from svcmgr.volume.info import check_mount as check_mount
from svcmgr.volume.options import OPTIONS as OPTIONS
from svcmgr.volume.options import Option as Option
from svcmgr.volume.options import canonical as canonical
from svcmgr.volume.options import value as value
from svcmgr.volume.snapshot import RESERVED_DIR as RESERVED_DIR
from svcmgr.volume.snapshot import Cost as Cost
from svcmgr.volume.snapshot import Record as Record
from svcmgr.volume.snapshot import check_snapshot_name as check_snapshot_name
from svcmgr.volume.snapshot import default_name as default_name
from svcmgr.volume.snapshot import snapshot_dir as snapshot_dir
