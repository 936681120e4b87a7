"""Offsets and bits of the registers. SDM 8254x §13.4."""

from __future__ import annotations


class Reg:
    """Offsets."""

    CTRL, STATUS, EECD, EERD, MDIC = 0x0000, 0x0008, 0x0010, 0x0014, 0x0020
    ICR, ITR, ICS, IMS, IMC = 0x00C0, 0x00C4, 0x00C8, 0x00D0, 0x00D8
    RCTL, TCTL = 0x0100, 0x0400
    RDBAL, RDBAH, RDLEN, RDH, RDT = 0x2800, 0x2804, 0x2808, 0x2810, 0x2818
    TDBAL, TDBAH, TDLEN, TDH, TDT = 0x3800, 0x3804, 0x3808, 0x3810, 0x3818
    VET, RXCSUM = 0x0038, 0x5000
    MTA, RA, VFTA = 0x5200, 0x5400, 0x5600
    MTA_END, RA_END, VFTA_END = 0x5400, 0x5480, 0x5800
    STATISTICS, STATISTICS_END = 0x4000, 0x4100
    # What is kept and does nothing here.
    KEPT = frozenset((
        0x0018, 0x0028, 0x002C, 0x0030, 0x0170, 0x0178, 0x0410, 0x0458, 0x0E00, 0x1000, 0x2160,
        0x2168, 0x2820, 0x2828, 0x282C, 0x2C00, 0x3820, 0x3828, 0x382C, 0x3830, 0x5800, 0x5808,
        0x5810, 0x5820, 0x5838,
    ))  # fmt: skip


class CTRL:
    """Device control, §13.4.1."""

    FD, SLU, RST, VME, PHY_RST = 1 << 0, 1 << 6, 1 << 26, 1 << 30, 1 << 31
    RESET_VALUE = FD | 2 << 8  # full duplex, 1000 Mb/s


class STATUS:
    """Device status, §13.4.2."""

    FD, LU, SPEED_1000 = 1 << 0, 1 << 1, 2 << 6


class ICR:
    """Interrupt causes, §13.4.17."""

    TXDW, TXQE, LSC, RXDMT0, RXO, RXT0 = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 6, 1 << 7
    IMPLEMENTED = 0x1_F6DF


class RCTL:
    """Receive control, §13.4.22."""

    EN, UPE, MPE, LPE = 1 << 1, 1 << 3, 1 << 4, 1 << 5
    LBM_SHIFT, RDMTS_SHIFT, MO_SHIFT, BSIZE_SHIFT = 6, 8, 12, 16
    BAM, VFE, BSEX, SECRC = 1 << 15, 1 << 18, 1 << 25, 1 << 26


class TCTL:
    """Transmit control, §13.4.33."""

    EN, PSP = 1 << 1, 1 << 3


class Stat:
    """Statistics counters, §13.7; a read clears them."""

    MPC, RUC, ROC, RNBC = 0x4010, 0x40A4, 0x40AC, 0x40A0
    PRC64, GPRC, BPRC, MPRC, GPTC = 0x405C, 0x4074, 0x4078, 0x407C, 0x4080
    GORCL, GOTCL, TORL, TOTL = 0x4088, 0x4090, 0x40C0, 0x40C8  # 64 bits: low, then high
    TPR, TPT, PTC64, MPTC, BPTC = 0x40D0, 0x40D4, 0x40D8, 0x40F0, 0x40F4
    LOW_HALVES = frozenset((GORCL, GOTCL, TORL, TOTL))


SIZE_CLASSES = (64, 127, 255, 511, 1023)  # bytes with FCS; PRC64 and PTC64 begin a register each
