"""Runs svcmgrd and never reaps anybody: a subreaper whose inherited orphans stay zombies.

python -m tests.kit.neglect ARGUMENTS OF SVCMGRD
"""

import os
import subprocess
import sys
import time

from svcmgr.proc.linux import set_subreaper


def main() -> None:
    set_subreaper()
    fds = [int(sys.argv[sys.argv.index("--ready-fd") + 1])]
    child = subprocess.Popen([sys.executable, "-m", "svcmgr.host", *sys.argv[1:]], pass_fds=fds, start_new_session=True)
    os.close(fds[0])
    while child:
        time.sleep(600)


if __name__ == "__main__":
    main()
