"""Two test processes share the cores: one thread each, or they wait for one another."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.odd_files import OddFiles
    from tests.pages.browser import Page

os.environ.setdefault("OMP_NUM_THREADS", "1")

GIVEN_DATA = "INCEPTCLI_TEST_DATA"


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, what nohup starts ignores SIGHUP, and so
    # would what tests start; handlers are not inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if folder := os.environ.get(GIVEN_DATA):
        if not Path(folder).is_dir():
            raise pytest.UsageError(f"{GIVEN_DATA}={folder}: no such folder")
        os.environ[GIVEN_DATA] = str(Path(folder).absolute())  # some tests go elsewhere


TIERS = {"train": "train", "whole_run": "train", "page": "system", "slurm": "system"}
"""The fixtures that put a test into another tier than the default one, and that tier."""

LONG = tuple(
    f"tests/{name}"
    for name in (
        "cluster/", "training/test_chaos", "training/test_signals", "training/test_processes",
        "training/test_devices", "test_launchers", "prediction/test_chaos", "cli/test_interruption",
        "cli/test_hub_weights", "cli/test_study", "test_hostile_files", "test_architecture",
        "weights/test_importing_",
    )
)  # fmt: skip
"""What runs first, for a worker runs a whole file: a long one at the end would run alone."""

RUNNING: list[pytest.Item] = []
"""The test that runs, alone."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in TIERS.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(TIERS[fixture])
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    """See to it that a test which trains without a mark of its tier fails."""
    if "lightning.pytorch" not in sys.modules:
        return
    trainer = sys.modules["lightning.pytorch"].Trainer
    fit = trainer.fit

    def fit_if_marked(*arguments: Any, **named: Any) -> None:
        if not any(map(RUNNING[0].get_closest_marker, ("train", "system"))):
            pytest.fail("this test trains: mark it `train`")
        fit(*arguments, **named)

    trainer.fit = fit_if_marked


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    RUNNING[:] = [item]
    if item.get_closest_marker("given_data") and not os.environ.get(GIVEN_DATA):
        pytest.skip(f"{GIVEN_DATA} names no folder of test data")


@pytest.fixture
def open_files() -> Iterator[None]:
    """See to it that the test leaves no file open and no process running."""
    before = len([*Path("/proc/self/fd").iterdir()])
    yield
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert not active_children()


@pytest.fixture(scope="session")
def given_data() -> Path:
    """The folder of more data than tests draw; who asks for it has the mark `given_data`."""
    return Path(os.environ[GIVEN_DATA])


@pytest.fixture(params=["drawn", pytest.param("given", marks=pytest.mark.given_data)])
def odd_files(request: pytest.FixtureRequest, tmp_path: Path) -> "OddFiles":
    """Files that decoders stumble over."""
    from tests import odd_files

    if request.param == "drawn":
        return odd_files.drawn(tmp_path / "odd")
    return odd_files.given(request.getfixturevalue("given_data"))


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """What the program notices while the test runs, a line each."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("inceptcli")
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def page() -> Iterator["Page"]:
    """A browser; it starts when the first test asks for it."""
    from tests.pages.browser import browser

    with browser() as page:
        yield page


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of training and validation that are done."""
    from inceptcli.training.module import Classifier

    done: list[str] = []
    training_step, validation_step = Classifier.training_step, Classifier.validation_step

    def train(self: Any, batch: Any, batch_idx: int) -> Any:
        done.append("training_step")
        return training_step(self, batch, batch_idx)

    def validate(self: Any, batch: Any, batch_idx: int) -> None:
        done.append("validation_step")
        validation_step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", train)
    monkeypatch.setattr(Classifier, "validation_step", validate)
    return done
