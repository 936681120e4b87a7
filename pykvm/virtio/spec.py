"""Numbers and structures of VIRTIO 1.2; sections are cited as §."""

from __future__ import annotations

import struct
from enum import IntFlag

# §5, device IDs.
ID_NET, ID_BLOCK, ID_CONSOLE, ID_ENTROPY, ID_BALLOON, ID_VSOCK = 1, 2, 3, 4, 5, 19


class Status(IntFlag):
    """The device status field. §2.1."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    DEVICE_NEEDS_RESET = 64
    FAILED = 128


# Feature bits that belong to no device type. §6.
F_INDIRECT_DESC = 1 << 28
F_EVENT_IDX = 1 << 29
F_VERSION_1 = 1 << 32
F_RING_PACKED = 1 << 34
F_IN_ORDER = 1 << 35
F_RING_RESET = 1 << 40
F_QUEUES = (
    F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX | F_RING_PACKED | F_IN_ORDER | F_RING_RESET
)  # what queues can do whatever the device

# Split virtqueues. §2.7.
QUEUE_SIZE_MAX = 1 << 15
DESC_F_NEXT, DESC_F_WRITE, DESC_F_INDIRECT = 1, 2, 4  # §2.7.5
AVAIL_F_NO_INTERRUPT = 1  # §2.7.6
USED_F_NO_NOTIFY = 1  # §2.7.8

# Packed virtqueues. §2.8.
PACKED_F_AVAIL, PACKED_F_USED = 1 << 7, 1 << 15  # §2.8.1
EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC = 0, 1, 2  # §2.8.10

DESCRIPTOR = struct.Struct("<QIHH")  # address, length, flags, next: §2.7.5
USED_ELEMENT = struct.Struct("<II")  # head, bytes written: §2.7.8
INDEX = struct.Struct("<H")
PACKED_DESCRIPTOR = struct.Struct("<QIHH")  # address, length, buffer ID, flags: §2.8.13
EVENT_SUPPRESS = struct.Struct("<HH")  # offset with wrap counter in bit 15, flags: §2.8.14

# virtio-mmio. §4.2.2.
MMIO_MAGIC = 0x7472_6976  # "virt"
MMIO_VERSION = 2
MMIO_SIZE = 0x200


class Interrupt(IntFlag):
    """What InterruptStatus tells. §4.2.2."""

    USED_BUFFER = 1
    CONFIGURATION = 2
