"""Work in threads that Ctrl-C can end: for tasks that wait for networks and disks.

Layer: foundation. An executor of the standard library waits for its threads when the program ends;
these are left behind where they do not stop soon (a dead connection), so what they do must be safe
to break off at any moment.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

from spidereye.interrupt import Interrupt, StopRequest

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_TICK = 0.1  # seconds
_LAST_WAIT = 2.0  # seconds that the threads have to stop in


def each_in_threads(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    threads: int,
    request: StopRequest,
    stop: threading.Event,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[tuple[_Item, _Result | Exception]]:
    """(item, work(item)) in the order in which they are done; an exception is a result too.

    Once request.requested is true, `stop` is set for work to notice (it may raise Interrupt), no
    further item is begun, and the iteration ends after the results that are there. tick is called
    in this thread about ten times a second.
    """
    waiting: SimpleQueue[_Item] = SimpleQueue()
    results: SimpleQueue[tuple[_Item, _Result | Exception]] = SimpleQueue()
    count = 0  # of results that are still to come
    for item in items:
        waiting.put(item)
        count += 1

    def run() -> None:
        while not stop.is_set():
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            try:
                results.put((item, work(item)))
            except Interrupt:
                return
            except Exception as error:
                results.put((item, error))

    team = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, count))]
    for thread in team:
        thread.start()
    try:
        while count and not request.requested:
            tick()
            try:
                result = results.get(timeout=_TICK)
            except Empty:
                continue
            count -= 1
            yield result
        tick()
        if count:
            stop.set()
            for thread in team:
                thread.join(_LAST_WAIT / len(team))
            while not results.empty():
                yield results.get()
    finally:
        if count:
            stop.set()
