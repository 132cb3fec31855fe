"""The check at a public door: each argument that is given, by the kind it is declared as."""

from __future__ import annotations

from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from st_predict.core.arguments.declared import DECLARED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from st_predict.core.arguments.kinds import Kind

P = ParamSpec("P")
R = TypeVar("R")


def declared(verb: str, argument: str) -> str:
    """The name an argument is declared under: its own, or ``verb.argument`` if it means something else in that verb."""
    own = f"{verb}.{argument}"
    return own if own in DECLARED else argument


def check_arguments(verb: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a verb as it would take them, before it is called.

    Raises
    ------
    InputError
        If one is not what it is declared as.
    """
    return {name: DECLARED[declared(verb, name)].check(value, name) for name, value in given.items()}


def checked(verb: Callable[P, R]) -> Callable[P, R]:
    """Have a public function check what it is given before it does anything.

    Names of arguments that it does not have, and arguments that are missing, are left to Python's own TypeError.

    Raises
    ------
    KeyError
        If an argument of it is not declared; when the function is defined.
    InputError
        If an argument is not what it is declared as; when the function is called.
    """
    known = signature(verb)
    kinds: dict[str, Kind] = {
        name: DECLARED[declared(verb.__name__, name)] for name in known.parameters if name != "self"
    }

    @wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = known.bind(*args, **kwargs)
        except TypeError:
            return verb(*args, **kwargs)  # which says it in its own name
        values: dict[str, Any] = given.arguments
        for name, kind in kinds.items():
            if name in values:
                values[name] = kind.check(values[name], name)
        return verb(*given.args, **given.kwargs)

    return call
