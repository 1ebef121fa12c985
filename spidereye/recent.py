"""What was made for the keys that were used last."""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Any


class Recent(OrderedDict[str, Any]):
    """At most `most` things by their keys; where one more is made, that used longest ago goes.

    Threads may share it. Copies, and what is pickled of it, are empty: it can all be made again.
    """

    def __init__(self, most: int = 1):
        super().__init__()
        self.most = most
        self._lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.most,)

    def find(self, key: str, make: Callable[[], Any]) -> Any:
        """What is kept under the key, or made now."""
        with self._lock:  # while it is made, too: what two threads want is made once
            if key not in self:
                made = make()  # where it fails, what is there stays
                while len(self) >= self.most:
                    self.popitem(last=False)
                self[key] = made
            self.move_to_end(key)
            return self[key]
