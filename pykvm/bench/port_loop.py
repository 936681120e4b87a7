"""The guest of `native/floor/floor.c`, for those who measure beside it."""

from __future__ import annotations

from pykvm import layout
from pykvm.loader.image import Image, Mode

# out 0xe9, al; dec ecx; jnz back; hlt
PORT_LOOP = bytes.fromhex("e6e9 ffc9 75fa f4")
IMAGE = Image("port loop", Mode.LONG, layout.LOAD_BASE, ((layout.LOAD_BASE, PORT_LOOP),))
