"""What passes at ports, as a pcapng file that Wireshark opens; needs the extra `capture`."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from pykvm.errors import CaptureError, UsageError
from pykvm.files import create_new
from pykvm.net.port import Port, Watcher

_LINK_ETHERNET = 1
_MICROSECONDS = 1_000_000
_INCOMING, _OUTGOING = 1, 2  # epb_flags: direction as the port sees it


class Capture:
    """A capture of each frame at some ports, until it is closed.

    Each is in the file at once. Where one cannot be written the capture ends, the network goes
    on, and `close` says so.

    Args:
        path: a new file, or a pipe; a file that is there is left alone, also one behind a link.
        ports: an interface each, by its name.

    Raises:
        UsageError: the library is not installed, there is nothing to capture, or no such file can
            be written.
    """

    def __init__(self, path: Path | str, ports: Sequence[Port]) -> None:
        try:
            from pcapng import FileWriter, blocks
        except ImportError:
            raise UsageError(
                "captures need python-pcapng; install it with pip install 'pykvm-hv[capture]'"
            ) from None
        if not ports:
            raise UsageError("a capture needs a port")
        self._packet = blocks.EnhancedPacket
        self._section = blocks.SectionHeader(options={"shb_userappl": "pykvm"})
        for port in ports:
            options = {"if_name": port.name}
            self._section.new_member(
                blocks.InterfaceDescription, link_type=_LINK_ETHERNET, snaplen=0, options=options
            )
        self._path = path
        self._failure: OSError | None = None
        self._size_bytes = 0
        head = io.BytesIO()
        self._writer = FileWriter(head, self._section)
        self._lock = threading.Lock()
        try:
            self._file = os.fdopen(create_new(path), "wb", buffering=0)
        except OSError as error:
            raise UsageError(self._problem(error)) from None
        try:
            self._put(head.getvalue())
        except OSError as error:
            self._file.close()
            raise UsageError(self._problem(error)) from None
        self._watched: list[tuple[Port, Watcher]] = []
        for number, port in enumerate(ports):
            watch = partial(self._write, number)
            port.watchers.append(watch)
            self._watched.append((port, watch))

    def _write(self, interface: int, frame: bytes, outgoing: bool) -> None:
        now = time.time_ns() * _MICROSECONDS // 1_000_000_000
        packet = self._section.new_member(
            self._packet,
            interface_id=interface,
            timestamp_high=now >> 32,
            timestamp_low=now & 0xFFFF_FFFF,
            packet_len=len(frame),
            packet_data=frame,
            options={"epb_flags": _OUTGOING if outgoing else _INCOMING},
        )
        with self._lock:
            if self._file.closed or self._failure is not None:
                return
            self._writer.stream = block = io.BytesIO()  # for whole blocks, even if interrupted
            self._writer.write_block(packet)
            try:
                self._put(block.getvalue())
            except OSError as error:
                self._failure = error
                with suppress(OSError):  # no part of a block
                    self._file.truncate(self._size_bytes)

    def _put(self, data: bytes) -> None:
        """To the file, all of it."""
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])
        self._size_bytes += written

    def _problem(self, error: OSError) -> str:
        remedy = "; name a new file" if isinstance(error, FileExistsError) else ""
        return f"cannot write {self._path}: {error.strerror}{remedy}"

    def close(self) -> None:
        """Watch no longer.

        Raises:
            CaptureError: a frame could not be written.
        """
        for port, watch in self._watched:
            port.watchers.remove(watch)
        self._watched.clear()
        with self._lock:
            self._file.close()
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise CaptureError(self._problem(error))

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(*(() if error is None else (CaptureError,))):
            self.close()
