"""``python -m svcmgr.cli``: the same as the ``svcmgr`` program."""

from svcmgr.cli.main import main

if __name__ == "__main__":
    main()
