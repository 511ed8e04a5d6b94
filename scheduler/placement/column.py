"""One value (or a few) a host in a numpy array: preallocated, doubled when full, kept in place.

Rows are opened and closed in the middle, because a fleet keeps its hosts in order of name: hosts
come and go rarely, and are chosen from all the time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

BoolColumn = NDArray[np.bool_]
IntColumn = NDArray[np.int64]
FloatColumn = NDArray[np.float64]

_SMALLEST_CAPACITY = 16


class Column(Generic[Scalar]):
    """The last axis is the hosts'; `values` is the part of it in use, cut anew as rows change."""

    def __init__(self, values: NDArray[Scalar]) -> None:
        self._stored = values
        self.values = values

    def open(self, row: int) -> None:
        """Move the rows from `row` on back by one; what `row` then holds is not said."""
        length = self.values.shape[-1]
        if length == self._stored.shape[-1]:
            self._double()
        self._stored[..., row + 1 : length + 1] = self._stored[..., row:length]
        self.values = self._stored[..., : length + 1]

    def close(self, row: int) -> None:
        """Forget `row` and move the ones behind it forward."""
        length = self.values.shape[-1]
        self._stored[..., row : length - 1] = self._stored[..., row + 1 : length]
        self.values = self._stored[..., : length - 1]

    def _double(self) -> None:
        *rows, capacity = self._stored.shape
        larger = np.zeros((*rows, max(_SMALLEST_CAPACITY, 2 * capacity)), self._stored.dtype)
        larger[..., :capacity] = self._stored
        self._stored = larger
