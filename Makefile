# make run    the tour: a short guided walk through svcmgr on a root of its own
# make test   everything: system packages, virtual environment, lint, all tests
# make lint   ruff and mypy alone          make bench  the measurements of benchmarks/
# make check  the tests alone, no lint     make clean  remove what make made
#
# Works on a fresh Debian 12, as root or as a user where the packages are installed.

PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What tests and benchmarks use beside Python: "command or file:Debian package". The module venv is looked for as well.
PACKAGES := gcc:gcc /usr/include/stdio.h:libc6-dev ps:procps redis-server:redis-server \
	fusermount3:fuse3 mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs mount:mount losetup:mount \
	setfacl:acl setfattr:attr setpriv:util-linux setcap:libcap2-bin

# Modules of benchmarks/ that `make bench` runs, in this order.
BENCHMARKS := supervise peers rpc_roundtrip spawn log_throughput volfile getspec view snapshot store mgmtd

.PHONY: run test check lint bench clean packages
.NOTPARALLEL:

run: $(STAMP)
	$(BIN)/python examples/tour.py

test: packages lint check

check: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy svcmgr

bench: $(STAMP)
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done

packages:
	@PYTHON="$(PYTHON)" .ci/packages $(PACKAGES)

# Editable, so that processes the tests start from any directory run this tree. "compat" puts the tree on the path
# itself; the default would install an import hook that every start of svcmgr pays for.
$(STAMP): setup.cfg pyproject.toml | packages
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
