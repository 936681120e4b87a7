/* FXSAVE, XSAVE and their kin: Intel SDM vol. 1 §10.5, chapter 13.
 *
 * Images are put together and taken apart in host memory. What is to be written is probed
 * first and what is to be read is read first, so that a fault leaves everything as it was. */
#include "control.h"
#include "xstate.h"

#define DONE EMU_NEXT_UNCHAINED

static bool pointers64(const struct emu_insn *insn)
{
    return emu_osize(insn) == EMU_64;
}

/* With alignment checks an image that not even a doubleword may lie at is #AC, which the manual
 * leaves to the processor (SDM vol. 3A §6.15), and otherwise #GP. */
static uint64_t aligned_operand(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t size,
                                uint32_t alignment, bool write)
{
    if (emu_checks_alignment(cpu) && emu_ea(cpu, insn, size, write) % 4)
        emu_raise_error(cpu, insn, EXC_AC, 0);
    return emu_ea_aligned(cpu, insn, size, alignment, write);
}

/* Bytes of the legacy area that processors write. */
static uint32_t legacy_bytes(const struct emu_cpu *cpu)
{
    return XSTATE_XMM + 16 * emu_xstate_registers(cpu);
}

/* FXSAVE's image is read and written in parts of sixteen bytes. */
static uint32_t part(uint32_t distance_bytes)
{
    (void)distance_bytes;
    return 16;
}

static EMU_OP(op_fxsave)
{
    uint8_t area[XSTATE_LEGACY_BYTES];
    (void)aligned_operand(cpu, insn, part(0), 16, true);
    emu_probe_parts(cpu, insn, XSTATE_LEGACY_BYTES, part); /* what stays as it is, too */
    emu_xstate_x87_out(cpu, pointers64(insn), area);
    emu_xstate_mxcsr_out(cpu, area);
    emu_xstate_xmm_out(cpu, area);
    emu_store_parts(cpu, insn, area, legacy_bytes(cpu), part, 16);
    DONE;
}

static EMU_OP(op_fxrstor)
{
    uint8_t area[XSTATE_LEGACY_BYTES];
    (void)aligned_operand(cpu, insn, part(0), 16, false);
    emu_load_parts(cpu, insn, area, XSTATE_LEGACY_BYTES, part, 16);
    uint32_t mxcsr = emu_xstate_mxcsr_of(area);
    if (mxcsr & ~MXCSR_ALL)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    emu_xstate_x87_in(cpu, pointers64(insn), area);
    emu_set_mxcsr(cpu, mxcsr);
    emu_xstate_xmm_in(cpu, area);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static uint64_t edx_eax(const struct emu_cpu *cpu)
{
    return cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
}

/* The components asked for. */
static uint64_t requested(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        emu_raise(cpu, insn, EXC_UD);
    if (cpu->cr0 & CR0_TS)
        emu_raise(cpu, insn, EXC_NM);
    return edx_eax(cpu) & cpu->xcr0;
}

static void put(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                const uint8_t *area, uint32_t offset, uint32_t size_bytes)
{
    emu_store_vec(cpu, insn, linear + offset, area + offset, size_bytes);
}

/* Where PKRU is in an image whose XCOMP_BV is this: component 9 follows AVX's in the compacted
 * form. §13.4.3 */
static uint32_t pkru_at(const struct emu_cpu *cpu, uint64_t compaction)
{
    if (compaction & XSTATE_COMPACTED)
        return compaction & XCR0_AVX ? XSTATE_BYTES : XSTATE_YMM;
    return cpu->pkru_offset;
}

/* Store the components that `what` names; the operand has been probed. */
static void save(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear, uint64_t what,
                 bool mxcsr, uint64_t compaction)
{
    uint8_t area[XSTATE_BYTES];
    uint32_t vectors = 16 * emu_xstate_registers(cpu);
    if (what & XCR0_X87) {
        emu_xstate_x87_out(cpu, pointers64(insn), area);
        put(cpu, insn, linear, area, 0, XSTATE_MXCSR);
        put(cpu, insn, linear, area, XSTATE_ST, 128);
    }
    if (mxcsr) {
        emu_xstate_mxcsr_out(cpu, area);
        put(cpu, insn, linear, area, XSTATE_MXCSR, 8);
    }
    if (what & XCR0_SSE) {
        emu_xstate_xmm_out(cpu, area);
        put(cpu, insn, linear, area, XSTATE_XMM, vectors);
    }
    if (what & XCR0_AVX) {
        emu_xstate_ymm_out(cpu, area);
        put(cpu, insn, linear, area, XSTATE_YMM, vectors);
    }
    if (what & XCR0_PKRU)
        emu_store_q(cpu, insn, linear + pkru_at(cpu, compaction), cpu->pkru);
}

static uint32_t image_bytes(const struct emu_cpu *cpu, uint64_t what, uint64_t compaction)
{
    if (what & XCR0_PKRU)
        return pkru_at(cpu, compaction) + XSTATE_PKRU_BYTES;
    return what & XCR0_AVX ? XSTATE_BYTES : XSTATE_YMM;
}

static uint64_t probed_operand(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t what,
                               uint64_t compaction)
{
    uint32_t size_bytes = image_bytes(cpu, what, compaction);
    uint64_t linear = aligned_operand(cpu, insn, size_bytes, 64, true);
    emu_probe_write(cpu, insn, linear, size_bytes);
    return linear;
}

/* XSAVE stores all that is asked for, XSAVEOPT only what is not in its initial state. §13.7 */
static void save_standard(struct emu_cpu *cpu, const struct emu_insn *insn, bool optimised)
{
    uint64_t what = requested(cpu, insn), used = what & emu_xstate_in_use(cpu);
    uint64_t linear = probed_operand(cpu, insn, what, 0);
    uint64_t marked = emu_load_q(cpu, insn, linear + XSTATE_HEADER);
    save(cpu, insn, linear, optimised ? used : what, what & (XCR0_SSE | XCR0_AVX), 0);
    emu_store_q(cpu, insn, linear + XSTATE_HEADER, (marked & ~what) | used);
}

static EMU_OP(op_xsave)
{
    save_standard(cpu, insn, false);
    DONE;
}

static EMU_OP(op_xsaveopt)
{
    save_standard(cpu, insn, true);
    DONE;
}

/* §13.10: MXCSR goes with the SSE state, and makes it worth saving. */
static void save_compacted(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t what = requested(cpu, insn), used = emu_xstate_in_use(cpu);
    if (emu_mxcsr(cpu) != MXCSR_RESET)
        used |= XCR0_SSE;
    used &= what;
    uint64_t header[2] = {used, what | XSTATE_COMPACTED};
    uint64_t linear = probed_operand(cpu, insn, what, header[1]);
    save(cpu, insn, linear, used, used & XCR0_SSE, header[1]);
    emu_store_vec(cpu, insn, linear + XSTATE_HEADER, header, sizeof(header));
}

static EMU_OP(op_xsavec)
{
    save_compacted(cpu, insn);
    DONE;
}

/* There are no supervisor states: IA32_XSS is 0. */
static EMU_OP(op_xsaves)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        emu_raise(cpu, insn, EXC_UD);
    emu_require_cpl0(cpu, insn);
    save_compacted(cpu, insn);
    DONE;
}

struct header {
    uint64_t marked, compaction, reserved[6];
};

/* §13.8, §13.12 */
static bool header_valid(const struct emu_cpu *cpu, const struct header *header, bool compacted)
{
    const uint64_t *reserved = header->reserved;
    uint64_t held = header->compaction & ~XSTATE_COMPACTED;
    if (!compacted)
        return !(header->marked & ~cpu->xcr0) && !header->compaction && !reserved[0];
    uint64_t any =
        reserved[0] | reserved[1] | reserved[2] | reserved[3] | reserved[4] | reserved[5];
    return !(held & ~cpu->xcr0) && !(header->marked & ~held) && !any;
}

static void init_registers(struct emu_cpu *cpu, unsigned half)
{
    for (unsigned i = 0; i < emu_xstate_registers(cpu); i++)
        cpu->vec[i].u64[half] = cpu->vec[i].u64[half + 1] = 0;
}

/* Load what is asked for and marked in the image, and set the rest of what is asked for to its
 * initial state. In the standard form MXCSR is loaded whether marked or not. */
static void restore(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t linear,
                    uint64_t what, const struct header *header)
{
    uint8_t area[XSTATE_BYTES];
    bool compacted = header->compaction & XSTATE_COMPACTED;
    uint64_t load = what & header->marked;
    bool mxcsr = compacted ? load & XCR0_SSE : what & (XCR0_SSE | XCR0_AVX);
    emu_load_vec(cpu, insn, linear, area, legacy_bytes(cpu));
    if (load & XCR0_AVX)
        emu_load_vec(cpu, insn, linear + XSTATE_YMM, area + XSTATE_YMM,
                     16 * emu_xstate_registers(cpu));
    uint64_t pkru = 0;
    if (load & XCR0_PKRU)
        pkru = emu_load_q(cpu, insn, linear + pkru_at(cpu, header->compaction));
    if (mxcsr && (emu_xstate_mxcsr_of(area) & ~MXCSR_ALL))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (load & XCR0_X87)
        emu_xstate_x87_in(cpu, pointers64(insn), area);
    else if (what & XCR0_X87)
        emu_xstate_x87_init(cpu);
    if (mxcsr)
        emu_set_mxcsr(cpu, emu_xstate_mxcsr_of(area));
    else if (what & XCR0_SSE)
        emu_set_mxcsr(cpu, MXCSR_RESET);
    if (load & XCR0_SSE)
        emu_xstate_xmm_in(cpu, area);
    else if (what & XCR0_SSE)
        init_registers(cpu, 0);
    if (load & XCR0_AVX)
        emu_xstate_ymm_in(cpu, area);
    else if (what & XCR0_AVX)
        init_registers(cpu, 2);
    if (what & XCR0_PKRU)
        emu_set_pkru(cpu, (uint32_t)pkru);
}

static void restore_checked(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t what,
                            bool must_be_compacted)
{
    struct header header;
    uint64_t linear = aligned_operand(cpu, insn, image_bytes(cpu, what, 0), 64, false);
    emu_load_vec(cpu, insn, linear + XSTATE_HEADER, &header, sizeof(header));
    bool compacted = header.compaction & XSTATE_COMPACTED;
    if ((must_be_compacted && !compacted) || !header_valid(cpu, &header, compacted))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    restore(cpu, insn, linear, what, &header);
}

static EMU_OP(op_xrstor)
{
    restore_checked(cpu, insn, requested(cpu, insn), false);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static EMU_OP(op_xrstors)
{
    uint64_t what = requested(cpu, insn);
    emu_require_cpl0(cpu, insn);
    restore_checked(cpu, insn, what, true);
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

/* ECX 0: XCR0. 1: which of its components are in use. */
static EMU_OP(op_xgetbv)
{
    uint32_t which = (uint32_t)cpu->gpr[RCX];
    if (!(cpu->cr4 & CR4_OSXSAVE))
        emu_raise(cpu, insn, EXC_UD);
    if (which > 1)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint64_t value = cpu->xcr0 & (which ? emu_xstate_in_use(cpu) : UINT64_MAX);
    cpu->gpr[RAX] = (uint32_t)value;
    cpu->gpr[RDX] = value >> 32;
    EMU_NEXT;
}

static EMU_OP(op_xsetbv)
{
    uint64_t behind = emu_next_rip(cpu, insn);
    if (!(cpu->cr4 & CR4_OSXSAVE))
        emu_raise(cpu, insn, EXC_UD);
    emu_require_cpl0(cpu, insn);
    if ((uint32_t)cpu->gpr[RCX] != 0 || !emu_write_xcr0(cpu, edx_eax(cpu)))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    EMU_LEAVE(behind);
}

#define M(name) static const struct emu_forms name = {.m = {NULL, NULL, op_##name, op_##name}};
M(fxsave)
M(fxrstor)
M(xsave)
M(xsaveopt)
M(xsavec)
M(xsaves)
M(xrstor)
M(xrstors)
static const struct emu_forms xgetbv = EMU_FORMS_1(op_xgetbv), xsetbv = EMU_FORMS_1(op_xsetbv);

#define ROW(opcode, digit, unit, forms)                                                            \
    {EMU_MAP_0F, opcode, EMU_MOD_M | EMU_REG(digit) | EMU_NP, EMU_MODRM | EMU_SIZE_Y | (unit),     \
     &forms,     NULL}
#define GROUP7(rm, end, forms)                                                                     \
    {EMU_MAP_0F,        0x01,   EMU_MOD_R | EMU_REG(2) | EMU_RM(rm) | EMU_NP,                      \
     EMU_MODRM | (end), &forms, NULL}

static const struct emu_row rows[] = {
    ROW(0xae, 0, EMU_X87, fxsave), ROW(0xae, 1, EMU_X87 | EMU_END, fxrstor),
    ROW(0xae, 4, 0, xsave),        ROW(0xae, 5, EMU_END, xrstor),
    ROW(0xae, 6, 0, xsaveopt),     ROW(0xc7, 3, EMU_END, xrstors),
    ROW(0xc7, 4, 0, xsavec),       ROW(0xc7, 5, 0, xsaves),
    GROUP7(0, 0, xgetbv),          GROUP7(1, EMU_END, xsetbv),
};
EMU_FAMILY(emu_family_xsave, rows);
