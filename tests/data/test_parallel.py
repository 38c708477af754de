"""Work by threads: the order, how far it reads ahead, errors, interruptions, and warnings."""

import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from elixir.data.image import decode, silent_pillow
from elixir.data.parallel import AHEAD, GROUP, cores, in_order
from elixir.errors import ElixirError

from .conftest import image_bytes, warning_jpeg

WORKERS = pytest.mark.parametrize("workers", [1, 2, 5])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("worker")]


@WORKERS
@pytest.mark.parametrize("count", [0, 1, GROUP, 101])
def test_outcomes_are_in_the_order_of_the_items(workers: int, count: int) -> None:
    def work(item: int) -> int:
        time.sleep((item * 7 % 5) / 5000)
        return item**2

    assert in_order(work, iter(range(count)), workers) == [item**2 for item in range(count)]
    assert threads() == []


@pytest.mark.parametrize("workers", [2, 5])
def test_items_are_taken_by_the_calling_thread_and_worked_on_by_others(workers: int) -> None:
    def items() -> Iterator[int]:
        for _ in range(10 * GROUP * workers):
            yield threading.get_ident()

    def work(taken_by: int) -> tuple[int, int]:
        time.sleep(0.001)
        return taken_by, threading.get_ident()

    pairs = in_order(work, items(), workers)
    assert {taken for taken, _ in pairs} == {threading.get_ident()}
    assert len({worked for _, worked in pairs} - {threading.get_ident()}) == workers


@pytest.mark.parametrize("workers", [2, 5])
def test_no_more_is_read_ahead_than_said(workers: int) -> None:
    """Nothing is done before the first item is, and that waits until no more has been read for a while."""
    window = GROUP * AHEAD * workers
    taken, seen = 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(4 * window):
            taken += 1
            yield item

    def work(item: int) -> None:
        nonlocal seen
        if item == 0:
            deadline = time.monotonic() + 10
            while taken < window and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.1)
            seen = taken

    in_order(work, items(), workers)
    assert seen == window


@WORKERS
def test_an_error_of_what_is_read_is_the_same(workers: int) -> None:
    error, done = ElixirError("the disk is gone"), []

    def items() -> Iterator[int]:
        yield from range(50)
        raise error

    with pytest.raises(ElixirError) as caught:
        in_order(done.append, items(), workers)
    assert caught.value is error
    assert set(done) <= set(range(50))
    assert threads() == []


@WORKERS
def test_an_error_in_the_work_ends_it(workers: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 20:
            raise ElixirError("number 20")
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(ElixirError, match="number 20"):
        in_order(work, range(10_000), workers)
    assert set(range(16)) <= set(done)
    assert len(done) <= 20 + GROUP * AHEAD * workers
    assert threads() == []


@WORKERS
def test_an_interruption_stops_it_at_once(workers: int) -> None:
    script = f"""
import signal, time
from elixir.data.parallel import in_order
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell is deaf to it
def work(item):
    if item == 0: print("working", flush=True)
    time.sleep(0.5)
try:
    in_order(work, range(1000), {workers})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
        assert process.wait() == 0
        assert time.monotonic() - start < 3  # the current items, not all of their groups


@WORKERS
def test_warnings_of_pillow_are_ignored_and_those_of_others_are_not(workers: int) -> None:
    def items() -> Iterator[bytes]:
        for number in range(40):
            if number == 30:
                with warnings.catch_warnings():  # as a dataset of the user may
                    warnings.simplefilter("ignore")
                    warnings.warn("not seen", stacklevel=1)
                    yield image_bytes(number)
                warnings.warn("of the user's dataset", UserWarning, stacklevel=1)
            yield warning_jpeg()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        in_order(decode, items(), workers)
        assert warnings.filters == before
    assert [str(warning.message) for warning in seen] == ["of the user's dataset"]


@pytest.mark.parametrize("workers", [2, 5])
def test_filters_may_change_while_a_worker_decodes(workers: int) -> None:
    """The calling thread changes them after a worker has begun, and puts them back after it has ended."""
    begun, changed, ended = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield from range(GROUP)
        assert begun.wait(10)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            changed.set()
            assert ended.wait(10)
        yield GROUP

    def work(item: int) -> None:
        if item == 0:
            with silent_pillow:
                begun.set()
                assert changed.wait(10)
            ended.set()

    before = list(warnings.filters)
    in_order(work, items(), workers)
    assert warnings.filters == before


def test_cores() -> None:
    assert cores() >= 1
