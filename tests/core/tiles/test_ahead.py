"""Items made ahead are the same items; errors and early ends reach the other side."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from st_predict.core.tiles.ahead import ahead


def test_the_same_items_in_order() -> None:
    assert list(ahead(range(50), depth=2)) == list(range(50))
    assert list(ahead([])) == []


def test_the_maker_is_ahead_but_no_further_than_asked() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    stream = ahead(items(), depth=3)
    assert next(stream) == 0
    for _ in range(100):
        if len(made) == 5:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5, "one handed out, three waiting, one in hand"
    stream.close()


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken chunk")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken chunk"):
        next(stream)


def test_a_consumer_that_stops_stops_the_maker() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            ended.set()

    stream = ahead(items(), depth=2)
    next(stream)
    stream.close()
    assert ended.wait(5)
    assert not [t for t in threading.enumerate() if t.name == "st-predict-ahead"]
