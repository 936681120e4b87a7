"""A TAP device: the host's own network, by frames.

Source: Documentation/networking/tuntap.rst of Linux, and <linux/if_tun.h>.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.link import Link

DEVICE = "/dev/net/tun"
NAME_MAX = 15  # IFNAMSIZ, less the NUL
_TUNSETIFF = 0x4004_54CA  # _IOW('T', 202, int)
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_SIOCGIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8913, 0x1, 0x40  # <linux/sockios.h>, <linux/if.h>
_IFREQ = struct.Struct("16sH22x")
_RUNS_AFTER_S, _LOOKS = 2.0, 1000
_WHY_NOT = {
    errno.ENOENT: "load the kernel's module: modprobe tun",
    errno.ENODEV: "load the kernel's module: modprobe tun",
    errno.EACCES: "let this user open it",
    errno.EPERM: "it takes CAP_NET_ADMIN, or an interface made for this user: "
    "ip tuntap add NAME mode tap user USER",
    errno.EBUSY: "another program uses that interface; choose another name",
    errno.EINVAL: "an interface of that name is no TAP device, or not of one queue; "
    "choose another name",
}


class Tap(Link):
    """An interface of the network namespace in which it is opened.

    One that `ip tuntap add` made is used, and stays; otherwise it is made, and ends with this. Its
    addresses, and whether it is up, are the matter of `ip`.

    Args:
        name: the interface's; "" or one with "%d" in it lets the kernel number it.

    Attributes:
        name: as it is.

    Raises:
        UsageError: it cannot be had; says why.
    """

    def __init__(self, name: str = "") -> None:
        self._file = -1
        self.name = self._open(_checked(name))
        _wait_for_carrier(self.name.encode())
        super().__init__(self.name)
        self._use(self._file)

    def _open(self, name: bytes) -> str:
        try:
            self._file = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            asked = _IFREQ.pack(name, _IFF_TAP | _IFF_NO_PI)
            found = fcntl.ioctl(self._file, _TUNSETIFF, asked)
        except OSError as error:
            what = f"TAP device {name.decode()}".rstrip() if self._file >= 0 else DEVICE
            self._close_file()
            remedy = _WHY_NOT.get(error.errno or 0, "see what the kernel's log has to say")
            raise UsageError(f"{what}: {error.strerror}; {remedy}") from None
        return bytes(_IFREQ.unpack(found)[0]).rstrip(b"\0").decode()

    def _write(self, data: bytes) -> int:
        return os.write(self._file, data)

    def _read(self) -> list[bytes]:
        return [os.read(self._file, frames.MAX_SIZE)]

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _wait_for_carrier(name: bytes) -> None:
    """Return once the kernel uses an interface that is up; a busy host takes its time for that.

    Until then it drops what it has for the interface, such as the answer to a first ping.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        for _ in range(_LOOKS):
            found = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(name, 0))
            flags: int = _IFREQ.unpack(found)[1]
            if not flags & _IFF_UP or flags & _IFF_RUNNING:
                return
            time.sleep(_RUNS_AFTER_S / _LOOKS)


def _checked(name: str) -> bytes:
    """What the kernel takes for a name, which it would cut short or misread otherwise."""
    try:
        data = name.encode("ascii")
    except UnicodeEncodeError:
        data = b"/"
    if len(data) > NAME_MAX or any(each <= 0x20 or each in b"/:\x7f" for each in data):
        raise UsageError(
            f"{name!r} is no interface's name: {NAME_MAX} ASCII characters at most, without "
            "blanks, / and :"
        )
    return data
