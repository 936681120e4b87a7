"""One instruction to its bytes: some are pykvm's own, the rest keystone's.

keystone crashes, hangs or writes wrong code for a good many things that a typing error makes.
It therefore sees one instruction at a time, in a process of its own, spelled anew from parsed
operands, with every number checked to fit; no label, directive or address of code reaches it.
"""

from __future__ import annotations

from pykvm.assembly import keystone_process, tables
from pykvm.assembly.direct import branch, far, plain, push16
from pykvm.assembly.expression import Lookup, Problem
from pykvm.assembly.instruction import Instruction, no_instruction
from pykvm.assembly.keystone_process import Reply
from pykvm.assembly.operands import SEGMENTS, Immediate, Memory, Register
from pykvm.assembly.spelling import check_operands, spell_memory
from pykvm.assembly.values import fit, immediate
from pykvm.text import excerpt

BATCH = 1000
TIMEOUT_S = 2.0  # of processor time, for one instruction; they take 0.1 ms
MAX_DIFFERENT = 5_000
_MARK = 0x7E57_C0DE  # stands for a distance until the instruction's size is known
_SYMBOL_MISSING = 144  # KS_ERR_ASM_*, as the others
_INVALID_OPERAND, _MISSING_FEATURE, _INVALID_MNEMONIC = 512, 513, 514
_PREFIXES = bytes([*tables.PREFIXES.values(), tables.OPERAND_SIZE, tables.ADDRESS_SIZE])
_EVEX = b"\x62"  # outside 64-bit code also BOUND; Intel SDM vol. 2A §2.7.3


class GivenUpError(Problem):
    """Nothing else will be encoded: there are too many instructions, or keystone died of one."""


class _NotLearnedError(Exception):
    """keystone has not been asked for this instruction yet."""


class Encoder:
    """Makes bytes of instructions.

    What keystone is to encode it gathers first, and asks for all of it at once by `learn`.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], bytes | str] = {}  # the bytes, or what is wrong
        self._deadly: tuple[int, str] | None = None
        self._wanted: dict[tuple[int, str], None] = {}

    def encode(
        self, instruction: Instruction, lookup: Lookup, address: int, least_bytes: int
    ) -> bytes:
        """The bytes of an instruction; as long as it is not learned, bytes that are no more.

        Args:
            lookup: gives the value of a name.
            address: where it will lie.
            least_bytes: branches with two forms take none shorter than this.

        Raises:
            Problem: there is no such instruction, or a value does not fit.
        """
        prefixes = instruction.prefixes
        address += len(prefixes)
        try:
            body = (
                plain(instruction)
                or branch(instruction, lookup, address, least_bytes - len(prefixes))
                or far(instruction, lookup)
                or push16(instruction, lookup)
                or self._by_keystone(instruction, lookup, address)
            )
        except _NotLearnedError:
            return bytes(max(least_bytes, 1))
        return prefixes + body

    def learn(self) -> bool:
        """Ask keystone for what was missing; False where nothing was.

        Raises:
            PykvmError: keystone does not start.
        """
        if not self._wanted:
            return False
        for bits in (16, 32, 64):
            texts = [text for each, text in self._wanted if each == bits]
            for start in range(0, len(texts), BATCH):
                if self._deadly is None:
                    self._ask(bits, texts[start : start + BATCH])
        self._wanted.clear()
        return True

    def _ask(self, bits: int, texts: list[str]) -> None:
        try:
            replies = keystone_process.ask(bits, texts, TIMEOUT_S)
        except keystone_process.KeystoneDiedError as error:
            replies = error.replies
            self._deadly = bits, texts[len(replies)]
            self._known[self._deadly] = str(error)
        for text, reply in zip(texts, replies, strict=False):
            code = bytes.fromhex(reply.code)
            if _is_evex(text, code):
                self._known[bits, text] = "AVX-512 is not supported; keystone gets its bytes wrong"
            else:
                self._known[bits, text] = code or _explain(reply, text, bits)

    def _by_keystone(self, instruction: Instruction, lookup: Lookup, address: int) -> bytes:
        check_operands(instruction)
        texts: list[str] = []
        prefix, target = b"", None
        for position, operand in enumerate(instruction.operands):
            if isinstance(operand, Memory):
                text, disp, labels = spell_memory(instruction, operand, lookup)
                if operand.base == "rip" and labels == 1:
                    target, disp = disp, _MARK
                elif not operand.base and not operand.index and instruction.bits == 64:
                    prefix = bytes([tables.ADDRESS_SIZE]) if disp >> 31 == 1 else b""
                texts.append(text.format(disp=f"{disp:#x}"))
            elif isinstance(operand, Immediate):
                texts.append(f"{immediate(instruction, position, operand, lookup):#x}")
            elif isinstance(operand, Register):
                texts.append(operand.name)
        code = prefix + self._look_up(instruction, texts)
        if target is None:
            return code
        distance = fit(target - address - len(code), -1 << 31, 1 << 31, "the distance ")
        at = code.index(_MARK.to_bytes(4, "little"))
        return code[:at] + distance.to_bytes(4, "little", signed=True) + code[at + 4 :]

    def _look_up(self, instruction: Instruction, operands: list[str]) -> bytes:
        bits, mnemonic = instruction.bits, instruction.mnemonic
        text = f"{mnemonic} {', '.join(operands)}"
        found = self._known.get((bits, text))
        if found is None:
            self._wanted[bits, text] = None
            if len(self._known) + len(self._wanted) > MAX_DIFFERENT:
                raise GivenUpError(f"a program has {MAX_DIFFERENT} different instructions at most")
            raise _NotLearnedError
        if isinstance(found, str):
            raise GivenUpError(found) if (bits, text) == self._deadly else Problem(found)
        return _correct(bits, mnemonic, operands, found)


def _explain(reply: Reply, text: str, bits: int) -> str:
    mnemonic = text.split()[0]
    unsized = "[" in text and " ptr " not in text
    size = "; say how wide the memory is: dword ptr [...]" if unsized else ""
    return {
        0: "keystone makes nothing of this",
        _SYMBOL_MISSING: f"{mnemonic!r} does not take these operands",  # a register, rather
        _INVALID_OPERAND: f"{mnemonic!r} does not take these operands{size}",
        _MISSING_FEATURE: no_instruction(mnemonic, bits),
        _INVALID_MNEMONIC: f"there is no instruction {excerpt(mnemonic)} in {bits}-bit code",
    }.get(reply.errno, reply.error)


def _is_evex(text: str, code: bytes) -> bool:
    return code.lstrip(_PREFIXES).startswith(_EVEX) and not text.startswith("bound ")


def _correct(bits: int, mnemonic: str, operands: list[str], code: bytes) -> bytes:
    """Take the operand-size prefix away where keystone adds one to the mode's default."""
    segment = mnemonic in ("push", "pop") and operands[0] in SEGMENTS
    if mnemonic in tables.NEEDLESS_OPERAND_SIZE[bits] or segment:
        return code.removeprefix(bytes([tables.OPERAND_SIZE]))
    return code
