"""A thread that works ahead, so that decoding goes on while a network runs."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], *, depth: int = 4) -> Iterator[Item]:
    """Give the same items, but make up to ``depth`` of them before they are asked for.

    An error of the maker is raised here, in its place. A consumer that stops early stops the maker as well.

    Parameters
    ----------
    items
        Iterable that makes the items.
    depth
        How many items may wait.
    """
    waiting: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def offer(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the items are asked for
            failure.append(error)
        offer(_END)

    maker = threading.Thread(target=make, daemon=True, name="st-predict-ahead")
    maker.start()
    try:
        while (item := waiting.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        maker.join()
