"""What an owner passes to a backend, and C does not take, is pykvm's own error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from pykvm.errors import PykvmError, UsageError

_TAKING = (
    "add_", "answer", "clear_", "create_", "dirty_log", "enable", "get_msrs", "interrupt", "map",
    "move", "note_write", "remove_", "request_", "set_", "signal_", "trap_", "unmap",
)  # fmt: skip
COMPLAINTS = (
    TypeError, ValueError, OverflowError, AttributeError, KeyError, IndexError, struct.error,
)  # fmt: skip


class Checked:
    """Methods that take values raise UsageError where a type or a size does not fit."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in tuple(vars(cls).items()):
            if name.startswith(_TAKING) and isinstance(method, FunctionType):
                setattr(cls, name, _checked(method))


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return method(*args, **named)
        except PykvmError:
            raise
        except COMPLAINTS as error:
            raise UsageError(f"{method.__name__}: {error}") from error

    return call
