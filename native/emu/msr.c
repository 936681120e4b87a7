/* Model-specific registers. Those that are plain storage stand in a table. */
#include <errno.h>

#include "control.h"

enum msr_rule { MSR_ANY, MSR_CANONICAL, MSR_32_BITS, MSR_MEMORY_TYPES };

struct msr_field {
    uint32_t first, count; /* consecutive indices, consecutive fields */
    uint32_t offset;       /* of the first field in struct emu_cpu */
    enum msr_rule rule;
};

#define FIELD(index, count, name, rule) {index, count, offsetof(struct emu_cpu, name), rule}
#define MSR_TSC 0x10u
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_ADJUST 0x3bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_PRED_CMD 0x49u
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_X2APIC 0x800u
#define MSR_X2APIC_LAST 0x8ffu
#define MSR_XSS 0xda0u
#define MSR_PKRS 0x6e1u
#define MSR_EFER 0xc0000080u

/* IA32_ARCH_CAPABILITIES: nothing is executed speculatively, so that no data leaks by it and
 * no system needs to do anything against that: RDCL, enhanced IBRS, L1D flush, SSB, MDS,
 * PSCHANGE_MC, TAA, SBDR_SSDP, FBSDP, PSDP, BHI, PBRSB, GDS, RFDS, ITS. */
#define ARCH_CAPABILITIES UINT64_C(0x400000000d10e17b)

/* Intel SDM vol. 4, table 2-2. */
static const struct msr_field fields[] = {
    FIELD(0x48, 1, msr.spec_ctrl, MSR_ANY),
    FIELD(0x8b, 1, msr.bios_signature, MSR_ANY),
    FIELD(0x174, 1, msr.sysenter_cs, MSR_32_BITS),
    FIELD(0x175, 2, msr.sysenter_esp, MSR_CANONICAL),
    FIELD(0x17a, 1, msr.mcg_status, MSR_ANY),
    FIELD(0x1a0, 1, msr.misc_enable, MSR_ANY),
    FIELD(0x1d9, 1, msr.debugctl, MSR_ANY),
    FIELD(0x200, 16, msr.mtrr_variable, MSR_ANY),
    FIELD(0x250, 1, msr.mtrr_fixed, MSR_ANY),
    FIELD(0x258, 2, msr.mtrr_fixed[1], MSR_ANY),
    FIELD(0x268, 8, msr.mtrr_fixed[3], MSR_ANY),
    FIELD(0x277, 1, msr.pat, MSR_MEMORY_TYPES),
    FIELD(MSR_PKRS, 1, msr.pkrs, MSR_32_BITS),
    FIELD(0x2ff, 1, msr.mtrr_def_type, MSR_ANY),
    FIELD(0xc0000081, 1, msr.star, MSR_ANY),
    FIELD(0xc0000082, 2, msr.lstar, MSR_CANONICAL),
    FIELD(0xc0000084, 1, msr.fmask, MSR_ANY),
    FIELD(0xc0000100, 1, seg[EMU_FS].base, MSR_CANONICAL),
    FIELD(0xc0000101, 1, seg[EMU_GS].base, MSR_CANONICAL),
    FIELD(0xc0000102, 1, msr.kernel_gs_base, MSR_CANONICAL),
    FIELD(0xc0000103, 1, msr.tsc_aux, MSR_32_BITS),
};

/* Registers that are there and always the same. */
static const struct {
    uint32_t index;
    uint64_t value;
} constants[] = {
    {MSR_ARCH_CAPABILITIES, ARCH_CAPABILITIES},
    {0x17, 0},     /* IA32_PLATFORM_ID */
    {0xfe, 0x508}, /* IA32_MTRRCAP: eight variable ranges, fixed ranges, write combining */
    {0x179, 0},    /* IA32_MCG_CAP: no banks */
    {MSR_XSS, 0},  /* no supervisor states */
};

static uint64_t *field_of(struct emu_cpu *cpu, uint32_t index, enum msr_rule *rule)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (index - fields[i].first >= fields[i].count)
            continue;
        *rule = fields[i].rule;
        return (uint64_t *)(void *)((uint8_t *)cpu + fields[i].offset) + (index - fields[i].first);
    }
    return NULL;
}

static bool read_constant(uint32_t index, uint64_t *value)
{
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (constants[i].index == index) {
            *value = constants[i].value;
            return true;
        }
    return false;
}

/* The registers that a processor's state consists of, in the order in which they can be set:
 * what others depend on first. Returns how many there are. */
uint32_t emu_msr_indices(uint32_t *indices, uint32_t max)
{
    static const uint32_t others[] = {MSR_TSC, MSR_TSC_ADJUST, MSR_TSC_DEADLINE};
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        for (uint32_t n = 0; n < fields[i].count; n++, count++)
            if (count < max)
                indices[count] = fields[i].first + n;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++, count++)
        if (count < max)
            indices[count] = others[i];
    return count;
}

static int read_msr(struct emu_cpu *cpu, uint32_t index, uint64_t *value)
{
    enum msr_rule rule;
    const uint64_t *field = field_of(cpu, index, &rule);
    if (field)
        *value = *field;
    else if (index == MSR_TSC)
        *value = emu_tsc(cpu);
    else if (index == MSR_TSC_ADJUST)
        *value = cpu->msr.tsc_adjust;
    else if (index == MSR_APIC_BASE)
        *value = cpu->msr.apic_base;
    else if (index == MSR_TSC_DEADLINE)
        *value = cpu->msr.tsc_deadline;
    else if (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST)
        return emu_lapic_get_msr(cpu, index, value);
    else if (index == MSR_EFER)
        *value = cpu->efer;
    else if (!read_constant(index, value))
        return -ENOENT;
    return 0;
}

/* IA32_PAT: eight memory types, of which 2 and 3 are none. SDM vol. 3A §11.12.2 */
static bool memory_types(uint64_t value)
{
    for (; value; value >>= 8)
        if ((value & 0xff) > 7 || (value & 0xfe) == 2)
            return false;
    return true;
}

static bool acceptable(const struct emu_cpu *cpu, enum msr_rule rule, uint64_t value)
{
    if (rule == MSR_MEMORY_TYPES)
        return memory_types(value);
    if (rule == MSR_CANONICAL)
        return emu_canonical_base(cpu, value);
    return rule != MSR_32_BITS || value >> 32 == 0;
}

/* What the guest adds to its time stamp counter shows in IA32_TSC_ADJUST (SDM vol. 3B
 * §17.17.3); the owner sets one without the other. */
static void write_time(struct emu_cpu *cpu, uint32_t index, uint64_t value, bool by_guest)
{
    uint64_t delta = value - (index == MSR_TSC ? emu_tsc(cpu) : cpu->msr.tsc_adjust);
    if (index == MSR_TSC || by_guest)
        cpu->msr.tsc_offset += delta;
    if (index == MSR_TSC_ADJUST || by_guest)
        cpu->msr.tsc_adjust += delta;
    if (cpu->msr.tsc_deadline)
        emu_lapic_set_deadline(cpu, cpu->msr.tsc_deadline);
}

/* The guest's only counts in the timer's deadline mode; the owner may set it before that. */
static void write_deadline(struct emu_cpu *cpu, uint64_t value, bool by_guest)
{
    if (!by_guest)
        cpu->msr.tsc_deadline = value;
    emu_lapic_set_deadline(cpu, value);
}

static int write_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value, bool by_guest)
{
    enum msr_rule rule;
    uint64_t *field = field_of(cpu, index, &rule), constant;
    if (field) {
        if (!acceptable(cpu, rule, value))
            return -EINVAL;
        bool keys = index == MSR_PKRS && *field != value;
        *field = value;
        if (keys)
            emu_tlb_flush_data(cpu);
    } else if (index == MSR_TSC || index == MSR_TSC_ADJUST) {
        write_time(cpu, index, value, by_guest);
    } else if (index == MSR_APIC_BASE) {
        return emu_lapic_set_base(cpu, value, by_guest);
    } else if (index == MSR_TSC_DEADLINE) {
        write_deadline(cpu, value, by_guest);
    } else if (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST) {
        return emu_lapic_set_msr(cpu, index, value);
    } else if (index == MSR_EFER) {
        return emu_write_efer(cpu, value) ? 0 : -EINVAL;
    } else if (index == MSR_XSS) {
        return value ? -EINVAL : 0;
    } else if (index == MSR_PRED_CMD) {
        return value & ~UINT64_C(1) ? -EINVAL : 0; /* no predictor holds anything */
    } else if (!read_constant(index, &constant)) {
        return -ENOENT;
    }
    return 0;
}

/* Returns 0, or -ENOENT where there is no such register. Any thread. */
int emu_cpu_get_msr(struct emu_cpu *cpu, uint32_t index, uint64_t *value)
{
    emu_vm_freeze(cpu->vm);
    int result = read_msr(cpu, index, value);
    emu_vm_thaw(cpu->vm);
    return result;
}

/* Returns 0, -ENOENT where there is no such register, -EINVAL where it cannot hold that. Any
 * thread. */
int emu_cpu_set_msr(struct emu_cpu *cpu, uint32_t index, uint64_t value)
{
    emu_vm_freeze(cpu->vm);
    int result = write_msr(cpu, index, value, false);
    emu_vm_thaw(cpu->vm);
    return result;
}

/* Does the owner want to see this access? The x2APIC's registers cannot be trapped. */
static bool is_absent(const struct emu_cpu *cpu, uint32_t index)
{
    return !emu_msr_offered(cpu->features, index);
}

static bool is_trapped(const struct emu_vm *vm, uint32_t index, bool write)
{
    if (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST)
        return false;
    for (uint32_t i = 0; i < vm->msr_trap_count; i++) {
        const struct emu_msr_trap *trap = &vm->msr_trap[i];
        if (index - trap->first < trap->count && (write ? trap->writes : trap->reads))
            return true;
    }
    return false;
}

/* An access that fails: the owner's for this reason, where it wants those. */
static uint64_t ask_owner(struct emu_cpu *cpu, const struct emu_insn *insn, int kind,
                          uint64_t value, uint32_t reason)
{
    if (!(cpu->vm->msr_exits & reason))
        emu_raise_error(cpu, insn, EXC_GP, 0);
    if (!cpu->replay.answers) {
        cpu->exit.address = (uint32_t)cpu->gpr[RCX];
        cpu->exit.value = value;
        cpu->exit.size = 8;
        cpu->exit.count = 1;
        cpu->exit.error = 0;
    }
    uint64_t answer = emu_await_answer(cpu, insn, kind);
    if (cpu->replay.error)
        emu_raise_error(cpu, insn, EXC_GP, 0);
    return answer;
}

static EMU_OP(op_rdmsr)
{
    uint64_t value;
    uint32_t index = (uint32_t)cpu->gpr[RCX];
    emu_require_cpl0(cpu, insn);
    emu_go_home(cpu, insn);
    if (is_trapped(cpu->vm, index, false))
        value = ask_owner(cpu, insn, PYKVM_MSR_READ, 0, EMU_MSR_TRAPPED);
    else if (is_absent(cpu, index) || read_msr(cpu, index, &value))
        value = ask_owner(cpu, insn, PYKVM_MSR_READ, 0, EMU_MSR_UNKNOWN);
    cpu->gpr[RAX] = (uint32_t)value;
    cpu->gpr[RDX] = value >> 32;
    EMU_LEAVE(emu_next_rip(cpu, insn));
}

static EMU_OP(op_wrmsr)
{
    uint64_t value = cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
    uint64_t behind = emu_next_rip(cpu, insn);
    emu_require_cpl0(cpu, insn);
    emu_go_home(cpu, insn);
    uint32_t index = (uint32_t)cpu->gpr[RCX], reason = EMU_MSR_TRAPPED;
    if (!is_trapped(cpu->vm, index, true)) {
        int result = is_absent(cpu, index) ? -ENOENT : write_msr(cpu, index, value, true);
        reason = !result ? 0 : result == -EINVAL ? EMU_MSR_INVALID : EMU_MSR_UNKNOWN;
    }
    if (reason)
        ask_owner(cpu, insn, PYKVM_MSR_WRITE, value, reason);
    EMU_LEAVE(behind);
}

static const struct emu_forms rdmsr = EMU_FORMS_1(op_rdmsr), wrmsr = EMU_FORMS_1(op_wrmsr);
static const struct emu_row rows[] = {
    {EMU_MAP_0F, 0x30, 0, EMU_END, &wrmsr, NULL},
    {EMU_MAP_0F, 0x32, 0, EMU_END, &rdmsr, NULL},
};
EMU_FAMILY(emu_family_msr, rows);
