"""``root``: a directory with a true svcmgrd, see tests/kit/rootdir.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.rootdir import Root


@pytest.fixture
def make_root(tmp_path: Path) -> Iterator[Callable[..., Root]]:
    """Makes roots; nothing is started. All are ended after the test, also when one of them fails to."""
    made: list[Root] = []

    def make(name: str = "r", **settings: object) -> Root:
        scratch = tmp_path / f"{name}.scratch"
        scratch.mkdir()
        made.append(Root(tmp_path / name, scratch, **settings))
        return made[-1]

    yield make
    errors = []
    for one in made:
        try:
            one.finish()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def bare(make_root: Callable[..., Root]) -> Root:
    """A root without svcmgrd."""
    return make_root()


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Root]]:
    """The root that the next test gets, if the last one left it fit for use."""
    spare: list[Root] = []
    yield spare
    for one in spare:
        one.finish()


@pytest.fixture
def root(_served: list[Root], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A root that svcmgrd serves, without services; used again, as a new svcmgrd takes longer than most tests."""
    if _served:
        one = _served.pop()
    else:
        path = tmp_path_factory.mktemp("root")
        (path / "s").mkdir()
        one = Root(path / "r", path / "s")
        try:
            one.up()
        except BaseException:
            one.finish()
            raise
    try:
        yield one
        fit = one.reset()
    except BaseException:
        one.finish()
        raise
    if fit:
        _served.append(one)
    else:
        one.finish()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A served root for all tests of a file that leave it as they found it."""
    path = tmp_path_factory.mktemp("shared")
    (path / "scratch").mkdir()
    root = Root(path / "r", path / "scratch")
    try:
        root.up()
        yield root
    finally:
        root.finish()
