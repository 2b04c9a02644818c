"""The command line: a client like any other. Its door is :func:`svcmgr.cli.main.main`."""
