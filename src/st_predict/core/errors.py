"""The one error that users see for input that cannot be used; it does not know what the input was."""

from __future__ import annotations

from functools import partial
from typing import Any


class InputError(ValueError):
    """The error for input that cannot be used. It says what to do about it.

    Parameters
    ----------
    what
        What is wrong, with the values found.
    where
        The argument, key or file that it was found in.
    expected
        What was expected there instead.
    remedy
        What to do about it.

    Examples
    --------
    >>> try:
    ...     stp.io.slide("no_such_slide.svs")
    ... except stp.InputError as error:
    ...     print(error.remedy)
    check the path
    """

    def __init__(self, what: str, *, where: str, expected: str, remedy: str) -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        super().__init__(f"{what}\n  where:    {where}\n  expected: {expected}\n  remedy:   {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all parts when the error crosses a process border."""
        return partial(type(self), where=self.where, expected=self.expected, remedy=self.remedy), (self.what,)
