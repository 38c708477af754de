"""Work on many samples by threads: decoding, scaling and hashing leave Python's lock alone, so that cores add up."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from elixir.data.image import silent_pillow

GROUP = 8  # items that a worker gets at a time: a thread that wakes for each would cost as much as a small image
AHEAD = 2  # groups a worker that are read before their turn

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[Item], Outcome], items: Iterable[Item], workers: int) -> list[Outcome]:
    """The outcome of the work on every item, in their order, by so many threads.

    The items are taken from their iterator by the calling thread alone, so that what they are read from need not be
    thread-safe, and at most `GROUP * AHEAD` a worker before their turn. The first error ends it, and so does an
    interruption, when each worker is done with its current item.
    """
    stopped = threading.Event()

    def all_of(group: Iterable[Item]) -> list[Outcome]:
        return [work(item) for item in group if not stopped.is_set()]

    with silent_pillow:
        if workers == 1:
            return all_of(items)
        outcomes: list[Outcome] = []
        waiting: deque[Future[list[Outcome]]] = deque()
        rest, pool = iter(items), ThreadPoolExecutor(workers, "worker")
        try:
            while group := list(islice(rest, GROUP)):
                waiting.append(pool.submit(all_of, group))
                if len(waiting) == AHEAD * workers:
                    outcomes += waiting.popleft().result()
            for done in waiting:
                outcomes += done.result()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
        return outcomes
