/* System calls, CPUID, time stamps, hypercalls, HLT, and what is no instruction. */
#include "control.h"
#include "decode.h"
#include "segment.h"

#define KVM_EPERM UINT64_C(1) /* linux/kvm_para.h */

EMU_OP(emu_op_undefined)
{
    emu_raise(cpu, insn, EXC_UD);
}

EMU_OP(emu_op_no_device)
{
    emu_raise(cpu, insn, EXC_NM);
}

EMU_OP(emu_op_too_long)
{
    emu_raise_error(cpu, insn, EXC_GP, 0);
}

EMU_OP(emu_op_alone)
{
    emu_retry_alone(cpu, insn);
}

static struct emu_seg flat_code(unsigned cpl, bool wide)
{
    unsigned type = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G;
    return (struct emu_seg){
        .limit = UINT32_MAX,
        .attr = (uint16_t)(type | cpl << SEG_DPL_SHIFT | (wide ? SEG_L : SEG_DB)),
    };
}

static struct emu_seg flat_data(unsigned cpl)
{
    unsigned type = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB;
    return (struct emu_seg){
        .limit = UINT32_MAX,
        .attr = (uint16_t)(type | cpl << SEG_DPL_SHIFT),
    };
}

/* CS and SS as fast system calls set them: flat, without looking at descriptors. */
static void set_flat(struct emu_cpu *cpu, uint16_t code, uint16_t stack, unsigned cpl, bool wide)
{
    struct emu_seg cs = flat_code(cpl, wide), ss = flat_data(cpl);
    emu_set_code(cpu, code, cpl, &cs);
    emu_set_segment(cpu, EMU_SS, (uint16_t)((stack & ~3u) | cpl), &ss);
}

/* After SYSCALL and SYSRET it is the new TF that counts, so that FMASK keeps single steps
 * out of the kernel. */
static void trace_anew(struct emu_cpu *cpu)
{
    cpu->traced = false;
    if (cpu->rflags & FLAG_TF)
        cpu->trap |= DR6_BS;
}

/* SDM vol. 2B, SYSCALL: 64-bit mode only. AMD's have it in compatibility mode too, by CSTAR (APM
 * vol. 3, SYSCALL). */
static EMU_OP(op_syscall)
{
    bool allowed = emu_code64(cpu) || (cpu->features->amd && emu_long_mode(cpu));
    if (!allowed || !(cpu->efer & EFER_SCE))
        emu_raise(cpu, insn, EXC_UD);
    uint64_t target = emu_code64(cpu) ? cpu->msr.lstar : cpu->msr.cstar;
    uint32_t flags = emu_rflags(cpu);
    uint16_t selector = (uint16_t)(cpu->msr.star >> 32) & 0xfffc;
    cpu->gpr[RCX] = emu_next_rip(cpu, insn);
    cpu->gpr[11] = flags & ~FLAG_RF;
    uint32_t kept = flags & ~(uint32_t)cpu->msr.fmask & ~FLAG_RF;
    cpu->rflags = (kept & ~FLAGS_STATUS) | FLAG_FIXED;
    emu_set_status_flags(cpu, kept);
    set_flat(cpu, selector, (uint16_t)(selector + 8), 0, true);
    trace_anew(cpu);
    EMU_LEAVE(target);
}

static EMU_OP(op_sysret)
{
    bool wide = emu_osize(insn) == EMU_64;
    if (!emu_code64(cpu) || !(cpu->efer & EFER_SCE))
        emu_raise(cpu, insn, EXC_UD);
    uint64_t rip = cpu->gpr[RCX];
    if (cpu->cpl || (wide && !emu_canonical(cpu, rip)))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint16_t base = (uint16_t)(cpu->msr.star >> 48);
    uint32_t flags = (uint32_t)cpu->gpr[11] & 0x3c7fd7;
    cpu->rflags = (flags & ~FLAGS_STATUS) | FLAG_FIXED;
    emu_set_status_flags(cpu, flags);
    set_flat(cpu, (uint16_t)(base + (wide ? 16 : 0)), (uint16_t)(base + 8), 3, wide);
    trace_anew(cpu);
    EMU_LEAVE(wide ? rip : (uint32_t)rip);
}

/* AMD's have SYSENTER and SYSEXIT outside long mode only (APM vol. 3). */
static void check_sysenter(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->features->amd && emu_long_mode(cpu))
        emu_raise(cpu, insn, EXC_UD);
}

static EMU_OP(op_sysenter)
{
    check_sysenter(cpu, insn);
    uint16_t selector = (uint16_t)cpu->msr.sysenter_cs & 0xfffc;
    bool wide = emu_long_mode(cpu);
    if (!(cpu->cr0 & CR0_PE) || !selector)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    cpu->rflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
    set_flat(cpu, selector, (uint16_t)(selector + 8), 0, wide);
    cpu->gpr[RSP] = wide ? cpu->msr.sysenter_esp : (uint32_t)cpu->msr.sysenter_esp;
    EMU_LEAVE(wide ? cpu->msr.sysenter_eip : (uint32_t)cpu->msr.sysenter_eip);
}

static EMU_OP(op_sysexit)
{
    check_sysenter(cpu, insn);
    uint16_t selector = (uint16_t)cpu->msr.sysenter_cs & 0xfffc;
    bool wide = emu_osize(insn) == EMU_64;
    uint64_t rip = cpu->gpr[RDX], sp = cpu->gpr[RCX];
    if (!(cpu->cr0 & CR0_PE) || !selector || cpu->cpl)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (wide && (!emu_canonical(cpu, rip) || !emu_canonical(cpu, sp)))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    unsigned code = selector + (wide ? 32u : 16u);
    set_flat(cpu, (uint16_t)code, (uint16_t)(code + 8), 3, wide);
    cpu->gpr[RSP] = wide ? sp : (uint32_t)sp;
    EMU_LEAVE(wide ? rip : (uint32_t)rip);
}

static EMU_OP(op_swapgs)
{
    emu_require_cpl0(cpu, insn);
    uint64_t base = cpu->seg[EMU_GS].base;
    cpu->seg[EMU_GS].base = cpu->msr.kernel_gs_base;
    cpu->msr.kernel_gs_base = base;
    EMU_NEXT;
}

/* RDFSBASE and its three kin. */
#define SEGMENT_BASE(name, index)                                                                  \
    static EMU_OP(op_rd##name##base)                                                               \
    {                                                                                              \
        if (!(cpu->cr4 & CR4_FSGSBASE))                                                            \
            emu_raise(cpu, insn, EXC_UD);                                                          \
        emu_set(cpu, insn->rm, emu_osize(insn), cpu->seg[index].base);                             \
        EMU_NEXT;                                                                                  \
    }                                                                                              \
    static EMU_OP(op_wr##name##base)                                                               \
    {                                                                                              \
        uint64_t base = emu_get(cpu, insn->rm, emu_osize(insn));                                   \
        if (!(cpu->cr4 & CR4_FSGSBASE))                                                            \
            emu_raise(cpu, insn, EXC_UD);                                                          \
        if (!emu_canonical_base(cpu, base))                                                        \
            emu_raise_error(cpu, insn, EXC_GP, 0);                                                 \
        cpu->seg[index].base = base;                                                               \
        EMU_NEXT;                                                                                  \
    }
SEGMENT_BASE(fs, EMU_FS)
SEGMENT_BASE(gs, EMU_GS)

static EMU_OP(op_cpuid)
{
    struct emu_cpuid out;
    emu_cpuid(cpu, (uint32_t)cpu->gpr[RAX], (uint32_t)cpu->gpr[RCX], &out);
    cpu->gpr[RAX] = out.eax;
    cpu->gpr[RBX] = out.ebx;
    cpu->gpr[RCX] = out.ecx;
    cpu->gpr[RDX] = out.edx;
    EMU_NEXT_UNCHAINED;
}

static void read_time(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if ((cpu->cr4 & CR4_TSD) && cpu->cpl && (cpu->cr0 & CR0_PE))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    uint64_t ticks = emu_tsc(cpu) - (cpu->vm->instruction_clock ? insn->rest : 0);
    cpu->gpr[RAX] = (uint32_t)ticks;
    cpu->gpr[RDX] = ticks >> 32;
}

static EMU_OP(op_rdtsc)
{
    read_time(cpu, insn);
    EMU_NEXT;
}

static EMU_OP(op_rdtscp)
{
    read_time(cpu, insn);
    cpu->gpr[RCX] = (uint32_t)cpu->msr.tsc_aux;
    EMU_NEXT;
}

static EMU_OP(op_rdpid)
{
    cpu->gpr[insn->rm] = cpu->msr.tsc_aux;
    EMU_NEXT;
}

static EMU_OP(op_rdpmc)
{
    emu_raise_error(cpu, insn, EXC_GP, 0);
}

/* Random numbers come from a generator that starts alike in every machine: runs by the
 * instruction clock repeat exactly. By the wall clock, time is mixed in. */
static EMU_OP(op_rdrand)
{
    uint64_t seed = cpu->vm->random += UINT64_C(0x9e3779b97f4a7c15);
    if (!cpu->vm->instruction_clock)
        seed ^= emu_now_ns();
    seed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    seed = (seed ^ seed >> 27) * UINT64_C(0x94d049bb133111eb);
    emu_set(cpu, insn->rm, emu_osize(insn), seed ^ seed >> 31);
    emu_set_status_flags(cpu, FLAG_CF);
    EMU_NEXT;
}

static EMU_OP(op_hlt)
{
    emu_require_cpl0(cpu, insn);
    if (cpu->visit_interrupts)
        emu_go_home(cpu, insn);
    if (cpu->lapic)
        cpu->halted = true;
    else
        cpu->leave = PYKVM_HALT;
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

/* VMCALL and VMMCALL as KVM has them: number in rax, arguments in rbx, rcx, rdx, rsi, the answer
 * in rax; 32 bits of each outside 64-bit mode, and for CPL 0 alone. */
static EMU_OP(op_hypercall)
{
    uint64_t mask = emu_code64(cpu) ? UINT64_MAX : UINT32_MAX;
    if (cpu->cpl) {
        cpu->gpr[RAX] = -KVM_EPERM & mask;
        EMU_LEAVE(emu_next_rip(cpu, insn));
    }
    if (!cpu->replay.answers) {
        struct pykvm_exit *exit = &cpu->exit;
        exit->address = cpu->gpr[RAX] & mask;
        exit->args[0] = cpu->gpr[RBX] & mask;
        exit->args[1] = cpu->gpr[RCX] & mask;
        exit->args[2] = cpu->gpr[RDX] & mask;
        exit->args[3] = cpu->gpr[RSI] & mask;
        exit->nargs = 4;
        exit->size = 8;
    }
    cpu->gpr[RAX] = emu_await_answer(cpu, insn, PYKVM_HYPERCALL) & mask;
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

/* MONITOR and MWAIT wait for nothing. There are no extensions to ask for in ECX. */
static EMU_OP(op_monitor)
{
    if (cpu->cpl)
        emu_raise(cpu, insn, EXC_UD);
    if ((uint32_t)cpu->gpr[RCX])
        emu_raise_error(cpu, insn, EXC_GP, 0);
    EMU_NEXT;
}

#define ONE(name) static const struct emu_forms name = EMU_FORMS_1(op_##name);
ONE(syscall)
ONE(sysret)
ONE(sysenter)
ONE(sysexit)
ONE(swapgs)
ONE(rdfsbase)
ONE(wrfsbase)
ONE(rdgsbase)
ONE(wrgsbase)
ONE(cpuid)
ONE(rdtsc)
ONE(rdtscp)
ONE(rdpid)
ONE(rdpmc)
ONE(rdrand)
ONE(hlt)
ONE(hypercall)
ONE(monitor)
static const struct emu_forms ud = EMU_FORMS_1(emu_op_undefined);

#define GROUP7(digit, low, match, shape, forms)                                                    \
    {EMU_MAP_0F,          0x01,   EMU_REG(digit) | EMU_RM(low) | EMU_MOD_R | (match),              \
     EMU_MODRM | (shape), &forms, NULL}
#define BASE_ROW(digit, forms)                                                                     \
    {EMU_MAP_0F, 0xae, EMU_REG(digit) | EMU_MOD_R | EMU_PF3 | EMU_ONLY64, EMU_MODRM | EMU_SIZE_Y,  \
     &forms,     NULL}

#define RANDOM_ROW(digit)                                                                          \
    {EMU_MAP_0F, 0xc7, EMU_REG(digit) | EMU_MOD_R | EMU_NP | EMU_P66, EMU_MODRM | EMU_SIZE_V,      \
     &rdrand,    NULL}

static const struct emu_row rows[] = {
    {EMU_MAP_0F, 0x05, 0, EMU_END, &syscall, NULL},
    {EMU_MAP_0F, 0x07, 0, EMU_END | EMU_SIZE_Y, &sysret, NULL},
    {EMU_MAP_0F, 0x34, 0, EMU_END, &sysenter, NULL},
    {EMU_MAP_0F, 0x35, 0, EMU_END | EMU_SIZE_Y, &sysexit, NULL},
    GROUP7(7, 0, EMU_ONLY64, 0, swapgs),
    GROUP7(7, 1, 0, 0, rdtscp),
    GROUP7(0, 1, 0, EMU_END, hypercall),
    GROUP7(3, 1, 0, EMU_END, hypercall),
    GROUP7(1, 0, EMU_NP, 0, monitor),
    GROUP7(1, 1, EMU_NP, 0, monitor),
    BASE_ROW(0, rdfsbase),
    BASE_ROW(1, rdgsbase),
    BASE_ROW(2, wrfsbase),
    BASE_ROW(3, wrgsbase),
    {EMU_MAP_0F, 0xa2, 0, 0, &cpuid, NULL},
    {EMU_MAP_0F, 0x31, 0, 0, &rdtsc, NULL},
    {EMU_MAP_0F, 0x33, 0, 0, &rdpmc, NULL},
    {EMU_MAP_0F, 0xc7, EMU_REG(7) | EMU_MOD_R | EMU_PF3, EMU_MODRM, &rdpid, NULL},
    RANDOM_ROW(6),
    RANDOM_ROW(7),
    {EMU_MAP_1, 0xf4, 0, EMU_END, &hlt, NULL},
    {EMU_MAP_0F, 0x0b, 0, EMU_END, &ud, NULL},
    {EMU_MAP_0F, 0xb9, 0, EMU_END | EMU_MODRM, &ud, NULL},
    {EMU_MAP_0F, 0xff, 0, EMU_END | EMU_MODRM, &ud, NULL},
};
EMU_FAMILY(emu_family_system, rows);
