"""A 16550A serial port. Source: National Semiconductor PC16550D data sheet, §8.

The line is infinitely fast: a byte written has been sent before the next instruction,
and input arrives as soon as the guest looks for it and there is room. Four character
times without input therefore pass at once, which is what the timeout indication waits for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from pykvm.devices.bytewise import Bytewise

SIZE = 8
FIFO_SIZE = 16
INPUT_LIMIT_BYTES = 4096


class Reg:
    """Offsets. DLL and DLM take the place of 0 and 1 while LCR.DLAB is set."""

    RBR = THR = DLL = 0
    IER = DLM = 1
    IIR = FCR = 2
    LCR = 3
    MCR = 4
    LSR = 5
    MSR = 6
    SCR = 7


class IER:
    """Interrupt enable, §8.7."""

    ERBFI = 1 << 0  # received data, and timeout
    ETBEI = 1 << 1  # transmitter holding register empty
    ELSI = 1 << 2  # receiver line status
    EDSSI = 1 << 3  # modem status
    IMPLEMENTED = 0x0F


class IIR:
    """Interrupt identification, §8.6 and table IV, highest priority first."""

    LINE_STATUS = 0b0110
    DATA = 0b0100
    TIMEOUT = 0b1100
    THR_EMPTY = 0b0010
    MODEM_STATUS = 0b0000
    NONE = 0b0001
    FIFOS_ENABLED = 0xC0


class FCR:
    """FIFO control, §8.5."""

    ENABLE = 1 << 0
    RESET_RECEIVER = 1 << 1
    RESET_TRANSMITTER = 1 << 2
    DMA_MODE = 1 << 3
    TRIGGER_SHIFT = 6
    TRIGGERS = (1, 4, 8, 14)  # bytes


class LCR:
    """Line control, §8.1; the frame's form has no effect on a line that is no wire."""

    DLAB = 1 << 7  # divisor latch access


class MCR:
    """Modem control, §8.8."""

    DTR = 1 << 0
    RTS = 1 << 1
    OUT1 = 1 << 2
    OUT2 = 1 << 3  # lets the interrupt out, as PCs wire it
    LOOP = 1 << 4
    IMPLEMENTED = 0x1F


class LSR:
    """Line status, §8.4."""

    DR = 1 << 0  # data ready
    OE = 1 << 1  # overrun; cleared by reading LSR
    THRE = 1 << 5  # transmitter holding register, or FIFO, empty
    TEMT = 1 << 6  # transmitter empty


class MSR:
    """Modem status, §8.9; the low half says what changed since the last read."""

    DCTS = 1 << 0
    DDSR = 1 << 1
    TERI = 1 << 2  # RI went away
    DDCD = 1 << 3
    CTS = 1 << 4
    DSR = 1 << 5
    RI = 1 << 6
    DCD = 1 << 7


_CONNECTED = MSR.CTS | MSR.DSR | MSR.DCD  # the other end is always there and ready
_LOOPED = ((MCR.RTS, MSR.CTS), (MCR.DTR, MSR.DSR), (MCR.OUT1, MSR.RI), (MCR.OUT2, MSR.DCD))


class Serial(Bytewise):
    """The registers of a 16550A, and the other end of its line, which any thread may hold.

    Args:
        output: called with each byte that the guest sends; it may feed the guest.
        irq: called with the level of the interrupt line when it changes.
    """

    def __init__(
        self, output: Callable[[bytes], None], irq: Callable[[bool], None] | None = None
    ) -> None:
        self._output = output
        self._irq = irq
        self._lock = threading.RLock()
        self._line = False
        self._input = bytearray()  # waits outside for room in the FIFO
        self._received: deque[int] = deque()
        self._ier = self._fcr = self._lcr = self._mcr = self._scr = 0
        self._divisor = 0
        self._overrun = False
        self._thr_empty_due = False
        self._timeout = False
        self._modem = _CONNECTED

    # The other end of the line.

    def feed(self, data: bytes) -> int:
        """Send bytes to the guest; those it has not read wait, up to a bound.

        Returns:
            How many of them were taken; offer the rest again later.
        """
        with self._lock:
            taken = min(len(data), INPUT_LIMIT_BYTES - len(self._input))
            self._input += data[:taken]
            self._interrupt_with_input()
        return taken

    # Registers.

    def read_byte(self, offset: int) -> int:
        """One register."""
        with self._lock:
            return self._read(offset)

    def write_byte(self, offset: int, value: int) -> None:
        """One register; LSR and MSR are read-only."""
        with self._lock:
            self._write(offset, value)

    def _read(self, offset: int) -> int:
        match offset:
            case Reg.DLL if self._lcr & LCR.DLAB:
                return self._divisor & 0xFF
            case Reg.DLM if self._lcr & LCR.DLAB:
                return self._divisor >> 8
            case Reg.RBR:
                return self._read_data()
            case Reg.IER:
                return self._ier
            case Reg.IIR:
                return self._read_iir()
            case Reg.LCR:
                return self._lcr
            case Reg.MCR:
                return self._mcr
            case Reg.LSR:
                return self._read_lsr()
            case Reg.MSR:
                return self._read_msr()
        return self._scr

    def _write(self, offset: int, value: int) -> None:
        match offset:
            case Reg.DLL if self._lcr & LCR.DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            case Reg.DLM if self._lcr & LCR.DLAB:
                self._divisor = self._divisor & 0x00FF | value << 8
            case Reg.THR:
                self._send(value)
            case Reg.IER:
                self._write_ier(value & IER.IMPLEMENTED)
            case Reg.FCR:
                self._write_fcr(value)
            case Reg.LCR:
                self._lcr = value
            case Reg.MCR:
                self._write_mcr(value & MCR.IMPLEMENTED)
            case Reg.SCR:
                self._scr = value

    def _read_data(self) -> int:
        self._arrive()
        value = self._received.popleft() if self._received else 0
        self._timeout = False
        self._update()  # the line drops before what arrives next raises it: PICs want edges
        self._arrive()
        return value

    def _read_iir(self) -> int:
        source = self._source()
        if source == IIR.THR_EMPTY:
            self._thr_empty_due = False
            self._update()
        return source | (IIR.FIFOS_ENABLED if self._fcr & FCR.ENABLE else 0)

    def _read_lsr(self) -> int:
        self._arrive()
        status = LSR.THRE | LSR.TEMT
        status |= LSR.DR if self._received else 0
        status |= LSR.OE if self._overrun else 0
        self._overrun = False
        self._update()
        return status

    def _read_msr(self) -> int:
        status = self._modem
        self._modem &= 0xF0
        self._update()
        return status

    def _write_ier(self, value: int) -> None:
        if value & ~self._ier & IER.ETBEI:
            self._thr_empty_due = True
        self._ier = value
        self._interrupt_with_input()

    def _write_fcr(self, value: int) -> None:
        """The other bits count only together with ENABLE; changing that one empties the FIFOs."""
        if (value ^ self._fcr) & FCR.ENABLE or value & FCR.RESET_RECEIVER:
            self._received.clear()
            self._timeout = False
        self._fcr = value if value & FCR.ENABLE else 0
        self._interrupt_with_input()

    def _write_mcr(self, value: int) -> None:
        self._mcr = value
        lines = _CONNECTED
        if value & MCR.LOOP:
            lines = sum(status for control, status in _LOOPED if value & control)
        changed = (lines ^ self._modem) & (MSR.CTS | MSR.DSR | MSR.DCD)
        changed |= self._modem & ~lines & MSR.RI  # only its end counts
        self._modem = lines | self._modem & 0x0F | changed >> 4
        self._interrupt_with_input()

    # Both directions of the line.

    def _send(self, value: int) -> None:
        self._thr_empty_due = False
        self._update()
        if self._mcr & MCR.LOOP:
            self._receive_looped(value)
        else:
            self._output(bytes((value,)))
        self._thr_empty_due = True
        self._update()

    def _receive_looped(self, value: int) -> None:
        """A byte that does not wait for room: a full FIFO loses it, a full RBR the one before."""
        if len(self._received) < self._capacity():
            self._received.append(value)
        else:
            self._overrun = True
            if not self._fcr & FCR.ENABLE:
                self._received[0] = value
        self._timeout = True

    def _interrupt_with_input(self) -> None:
        """Let input in where its arrival is an interrupt; else it waits until it is polled for.

        So a guest that empties the FIFO before its first look loses nothing.
        """
        if self._ier & IER.ERBFI:
            self._arrive()
        self._update()

    def _arrive(self) -> None:
        """Let in what there is room for; in loopback the line is cut."""
        if not self._mcr & MCR.LOOP:
            room = self._capacity() - len(self._received)
            self._received.extend(self._input[:room])
            del self._input[:room]
        self._timeout = bool(self._received)
        self._update()

    def _capacity(self) -> int:
        return FIFO_SIZE if self._fcr & FCR.ENABLE else 1

    # Interrupts.

    def _source(self) -> int:
        """The pending interrupt of highest priority. Source: table IV."""
        enabled = self._ier
        if enabled & IER.ELSI and self._overrun:
            return IIR.LINE_STATUS
        if enabled & IER.ERBFI and len(self._received) >= self._trigger():
            return IIR.DATA
        if enabled & IER.ERBFI and self._timeout:
            return IIR.TIMEOUT
        if enabled & IER.ETBEI and self._thr_empty_due:
            return IIR.THR_EMPTY
        if enabled & IER.EDSSI and self._modem & 0x0F:
            return IIR.MODEM_STATUS
        return IIR.NONE

    def _trigger(self) -> int:
        if not self._fcr & FCR.ENABLE:
            return 1
        return FCR.TRIGGERS[self._fcr >> FCR.TRIGGER_SHIFT]

    def _update(self) -> None:
        """Drive the interrupt line; in loopback OUT2 is cut off, and it with it (§8.8)."""
        out = self._mcr & (MCR.OUT2 | MCR.LOOP) == MCR.OUT2
        level = out and self._source() != IIR.NONE
        if level != self._line:
            self._line = level
            if self._irq is not None:
                self._irq(level)
