"""What the texts of options mean, where more than one subcommand has them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from pykvm.errors import UsageError

T = TypeVar("T")


def reads(convert: Callable[[str], T]) -> Callable[[str], T]:
    """The same for argparse, which prints only messages of its own kind of error."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def parse_address(text: str) -> int:
    """An address from a number in any of Python's bases.

    Raises:
        UsageError: not an address.
    """
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if address < 0:
        raise UsageError(f"{text!r} is not an address; write a number such as 0x100000")
    return address
