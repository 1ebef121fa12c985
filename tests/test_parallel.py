"""Threads that Ctrl-C can end."""

import threading
import time

import pytest

from spidereye.interrupt import Interrupt, StopRequest
from spidereye.parallel import each_in_threads


def _square(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number * number


def test_every_item_has_a_result_and_errors_are_results():
    results = dict(each_in_threads(_square, range(50), 4, StopRequest(), threading.Event()))
    assert str(results.pop(3)) == "three"
    assert results == {number: number * number for number in range(50) if number != 3}
    assert list(each_in_threads(_square, [], 4, StopRequest(), threading.Event())) == []


def test_threads_work_at_the_same_time_and_no_more_than_asked():
    meeting = threading.Barrier(3, timeout=5.0)
    most: list[int] = []

    def meet(number: int) -> int:
        most.append(threading.active_count())
        return meeting.wait()

    before = threading.active_count()
    results = dict(each_in_threads(meet, range(6), 3, StopRequest(), threading.Event()))
    assert not any(isinstance(result, Exception) for result in results.values())
    assert max(most) <= before + 3


@pytest.mark.parametrize("heeds", [True, False])
def test_a_request_to_stop_ends_it_soon(heeds: bool):
    request, stop, release = StopRequest(), threading.Event(), threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number < 2:
            return number
        (stop if heeds else release).wait(10.0)
        raise Interrupt

    start = time.monotonic()
    results = []
    for item, _ in each_in_threads(work, range(100), 2, request, stop):
        results.append(item)
        request.requested = len(results) == 2
    assert sorted(results) == [0, 1] and len(begun) <= 4
    assert stop.is_set() and time.monotonic() - start < (1.0 if heeds else 4.0)
    release.set()


def test_what_is_done_while_stopping_is_not_lost():
    request, stop = StopRequest(), threading.Event()

    def work(number: int) -> int:
        if number:
            stop.wait(5.0)
        return number

    found = []
    for item, _ in each_in_threads(work, range(100), 3, request, stop):
        found.append(item)
        request.requested = True
    assert found[0] == 0 and len(found) in (3, 4)  # those that the three threads had begun


def test_leaving_the_loop_stops_the_threads():
    stop = threading.Event()
    for _ in each_in_threads(_square, range(1000), 2, StopRequest(), stop):
        break
    assert stop.is_set()
