/* Each piece is read whole, and most are written back only where they differ: of seven calls
 * to read, two remain to write after most visits. All return 0 or -errno. */
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MSR_TSC 0x10u
#define CR0_PE 1u
#define RFLAGS_IF (1u << 9)
#define RFLAGS_VM (1u << 17)
#define CPUID_MAX 256
#define CPUID_7_EBX_AVX512F (1u << 16)
#define SHADOW_STI 2 /* KVM_X86_SHADOW_INT_STI, no part of the headers */
#define XSAVE_BV 512 /* the XSAVE area, Intel SDM vol. 1 §13.4 */
#define XSAVE_AVX 576
#define PKRU_COMPONENT 9
#define PKRU (UINT64_C(1) << PKRU_COMPONENT)
#define X87 1u
#define SSE 2u
#define AVX 4u

/* MSRs that instructions use without naming them. RDMSR and WRMSR are KVM's own. */
static const uint32_t msr_indices[] = {
    0x174,      0x175,      0x176,      0xc0000081, 0xc0000082,
    0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, MSR_TSC,
};

static int call(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

static int get_msrs(struct pykvm_transfer *transfer, int fd)
{
    struct kvm_msrs *msrs = &transfer->msrs.head;
    if (transfer->msrs_known)
        return ioctl(fd, KVM_GET_MSRS, msrs) == (int)msrs->nmsrs ? 0 : -EIO;
    uint32_t count = 0; /* once: those that this KVM has */
    for (size_t i = 0; i < sizeof(msr_indices) / sizeof(*msr_indices); i++) {
        msrs->nmsrs = 1;
        transfer->msrs.entry[0] = (struct kvm_msr_entry){.index = msr_indices[i]};
        if (ioctl(fd, KVM_GET_MSRS, msrs) == 1)
            transfer->msrs.entry[++count] = transfer->msrs.entry[0];
    }
    memmove(transfer->msrs.entry, transfer->msrs.entry + 1, count * sizeof(*msrs->entries));
    msrs->nmsrs = count;
    transfer->msrs_known = true;
    return ioctl(fd, KVM_GET_MSRS, msrs) == (int)count ? 0 : -EIO;
}

static void msrs_in(const struct pykvm_transfer *transfer, struct emu_cpu *cpu)
{
    for (uint32_t i = 0; i < transfer->msrs.head.nmsrs; i++)
        emu_cpu_set_msr(cpu, transfer->msrs.entry[i].index, transfer->msrs.entry[i].data);
}

static int msrs_out(struct pykvm_transfer *transfer, int fd, struct emu_cpu *cpu)
{
    bool differ = false;
    for (uint32_t i = 0; i < transfer->msrs.head.nmsrs; i++) {
        struct kvm_msr_entry *entry = &transfer->msrs.entry[i];
        uint64_t value = entry->data;
        if (entry->index != MSR_TSC) /* it runs on, here as there */
            emu_cpu_get_msr(cpu, entry->index, &value);
        differ |= value != entry->data;
        entry->data = value;
    }
    if (!differ)
        return 0;
    uint32_t count = transfer->msrs.head.nmsrs - 1; /* all but the last, the counter */
    transfer->msrs.head.nmsrs = count;
    int done = ioctl(fd, KVM_SET_MSRS, &transfer->msrs.head);
    transfer->msrs.head.nmsrs = count + 1;
    return done == (int)count ? 0 : -EIO;
}

static void regs_in(const struct kvm_regs *in, struct emu_state *state)
{
    const uint64_t encoded[16] = {in->rax, in->rcx, in->rdx, in->rbx, in->rsp, in->rbp,
                                  in->rsi, in->rdi, in->r8,  in->r9,  in->r10, in->r11,
                                  in->r12, in->r13, in->r14, in->r15};
    memcpy(state->gpr, encoded, sizeof(encoded));
    state->rip = in->rip;
    state->rflags = in->rflags;
}

static struct kvm_regs regs_out(const struct emu_state *state)
{
    const uint64_t *gpr = state->gpr;
    return (struct kvm_regs){
        .rax = gpr[0],
        .rcx = gpr[1],
        .rdx = gpr[2],
        .rbx = gpr[3],
        .rsp = gpr[4],
        .rbp = gpr[5],
        .rsi = gpr[6],
        .rdi = gpr[7],
        .r8 = gpr[8],
        .r9 = gpr[9],
        .r10 = gpr[10],
        .r11 = gpr[11],
        .r12 = gpr[12],
        .r13 = gpr[13],
        .r14 = gpr[14],
        .r15 = gpr[15],
        .rip = state->rip,
        .rflags = state->rflags,
    };
}

/* Both structures have the same fields. */
#define COPY_SEGMENT(out, in)                                                                      \
    do {                                                                                           \
        (out).base = (in).base;                                                                    \
        (out).limit = (in).limit;                                                                  \
        (out).selector = (in).selector;                                                            \
        (out).type = (in).type;                                                                    \
        (out).present = (in).present;                                                              \
        (out).dpl = (in).dpl;                                                                      \
        (out).db = (in).db;                                                                        \
        (out).s = (in).s;                                                                          \
        (out).l = (in).l;                                                                          \
        (out).g = (in).g;                                                                          \
        (out).avl = (in).avl;                                                                      \
        (out).unusable = (in).unusable;                                                            \
    } while (0)
#define EACH_SEGMENT(DO)                                                                           \
    DO(es, EMU_ES)                                                                                 \
    DO(cs, EMU_CS)                                                                                 \
    DO(ss, EMU_SS) DO(ds, EMU_DS) DO(fs, EMU_FS) DO(gs, EMU_GS) DO(ldt, EMU_LDTR) DO(tr, EMU_TR)
#define EACH_CONTROL(DO) DO(cr0) DO(cr2) DO(cr3) DO(cr4) DO(cr8) DO(efer) DO(apic_base)
#define SEGMENT_IN(name, index) COPY_SEGMENT(state->segment[index], in->name);
#define SEGMENT_OUT(name, index) COPY_SEGMENT(out->name, state->segment[index]);
#define CONTROL_IN(name) state->name = in->name;
#define CONTROL_OUT(name) out->name = state->name;

static void sregs_in(const struct kvm_sregs *in, struct emu_state *state)
{
    EACH_SEGMENT(SEGMENT_IN)
    EACH_CONTROL(CONTROL_IN)
    state->gdt = (struct emu_table){in->gdt.base, in->gdt.limit};
    state->idt = (struct emu_table){in->idt.base, in->idt.limit};
}

static void sregs_out(const struct emu_state *state, struct kvm_sregs *out)
{
    EACH_SEGMENT(SEGMENT_OUT)
    EACH_CONTROL(CONTROL_OUT)
    out->gdt.base = state->gdt.base;
    out->gdt.limit = state->gdt.limit;
    out->idt.base = state->idt.base;
    out->idt.limit = state->idt.limit;
}

/* Has the guest PKRU, and the area a place for it? */
static bool pkru_there(const struct pykvm_transfer *transfer)
{
    return transfer->pkru_offset >= XSAVE_AVX &&
           transfer->pkru_offset <= sizeof(transfer->xsave) - sizeof(uint64_t);
}

/* The legacy part of an XSAVE area, Intel SDM vol. 1 §10.5.1. */
static void xsave_in(const uint8_t *area, struct emu_state *state)
{
    uint8_t ftw = area[4];
    memcpy(&state->fcw, area, 2);
    memcpy(&state->fsw, area + 2, 2);
    state->ftw = ftw;
    memcpy(&state->fop, area + 6, 2);
    memcpy(&state->fip, area + 8, 8);
    memcpy(&state->fdp, area + 16, 8);
    memcpy(&state->mxcsr, area + 24, 4);
    for (size_t i = 0; i < 8; i++) {
        memcpy(&state->st[i][0], area + 32 + 16 * i, 8);
        state->st[i][1] = 0;
        memcpy(&state->st[i][1], area + 40 + 16 * i, 2);
    }
    for (size_t i = 0; i < 16; i++) {
        memcpy(&state->vec[i][0], area + 160 + 16 * i, 16);
        memcpy(&state->vec[i][2], area + XSAVE_AVX + 16 * i, 16);
    }
}

static void xsave_out(const struct emu_state *state, uint8_t *area)
{
    uint64_t used;
    memcpy(area, &state->fcw, 2);
    memcpy(area + 2, &state->fsw, 2);
    area[4] = state->ftw;
    memcpy(area + 6, &state->fop, 2);
    memcpy(area + 8, &state->fip, 8);
    memcpy(area + 16, &state->fdp, 8);
    memcpy(area + 24, &state->mxcsr, 4);
    for (size_t i = 0; i < 8; i++)
        memcpy(area + 32 + 16 * i, state->st[i], 10);
    for (size_t i = 0; i < 16; i++) {
        memcpy(area + 160 + 16 * i, &state->vec[i][0], 16);
        if (state->xcr0 & AVX)
            memcpy(area + XSAVE_AVX + 16 * i, &state->vec[i][2], 16);
    }
    memcpy(&used, area + XSAVE_BV, sizeof(used));
    used |= X87 | SSE | (state->xcr0 & (AVX | PKRU));
    memcpy(area + XSAVE_BV, &used, sizeof(used));
}

/* `refused`: KVM queues #UD along with its refusal, for owners who do nothing about it. */
static void events_in(const struct kvm_vcpu_events *events, struct emu_state *state, bool refused)
{
    state->nmi_pending = events->nmi.pending;
    state->nmi_blocked = events->nmi.masked;
    state->shadow = events->interrupt.shadow != 0;
    state->event_pending = 1;
    if (!refused && (events->exception.injected || events->exception.pending)) {
        state->event_type = EMU_EVENT_FAULT;
        state->event_vector = events->exception.nr;
        state->event_has_error = events->exception.has_error_code;
        state->event_error = events->exception.error_code;
    } else if (events->nmi.injected) {
        state->event_type = EMU_EVENT_NMI;
        state->event_vector = 2;
    } else if (events->interrupt.injected) {
        state->event_type = EMU_EVENT_INTERRUPT;
        state->event_vector = events->interrupt.nr;
    } else {
        state->event_pending = 0;
    }
}

static struct kvm_vcpu_events events_out(const struct emu_state *state,
                                         const struct kvm_vcpu_events *old)
{
    struct kvm_vcpu_events events = *old;
    events.exception.injected = events.exception.pending = 0;
    events.interrupt.injected = events.nmi.injected = 0;
    events.nmi.pending = state->nmi_pending;
    events.nmi.masked = state->nmi_blocked;
    if (!state->shadow || !events.interrupt.shadow)
        events.interrupt.shadow = state->shadow ? SHADOW_STI : 0;
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    return events;
}

/* CPUID answers here as it does there, and the time stamp counter runs as fast. */
int pykvm_transfer_cpuid(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_vm *vm,
                         struct emu_cpu *cpu)
{
    struct kvm_cpuid2 *found =
        calloc(1, sizeof(*found) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
    struct emu_cpuid *table = calloc(CPUID_MAX, sizeof(*table));
    int error = found && table ? 0 : -ENOMEM;
    if (!error) {
        found->nent = CPUID_MAX;
        error = call(vcpu_fd, KVM_GET_CPUID2, found);
    }
    for (uint32_t i = 0; !error && i < found->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &found->entries[i];
        bool by_index = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        table[i] = (struct emu_cpuid){entry->function, by_index ? entry->index : EMU_CPUID_ANY,
                                      entry->eax,      entry->ebx,
                                      entry->ecx,      entry->edx};
        if (entry->function == 7 && !entry->index)
            transfer->evex = entry->ebx & CPUID_7_EBX_AVX512F;
        if (entry->function == 0xd && entry->index == PKRU_COMPONENT)
            transfer->pkru_offset = entry->ebx;
    }
    if (!error)
        error = emu_cpu_set_cpuid(cpu, table, found->nent);
    free(found);
    free(table);
    int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
    if (khz > 0)
        emu_vm_set_tsc_khz(vm, (uint32_t)khz);
    return error;
}

/* Does it execute code below CPL 3 (with interrupts off, if `masked`)? */
bool pykvm_transfer_privileged(int vcpu_fd, bool masked)
{
    struct kvm_mp_state state;
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    if (call(vcpu_fd, KVM_GET_MP_STATE, &state) || call(vcpu_fd, KVM_GET_SREGS, &sregs) ||
        call(vcpu_fd, KVM_GET_REGS, &regs))
        return false;
    bool user = (sregs.cr0 & CR0_PE) && ((regs.rflags & RFLAGS_VM) || sregs.ss.dpl == 3);
    return state.mp_state == KVM_MP_STATE_RUNNABLE && !user && !(masked && regs.rflags & RFLAGS_IF);
}

static int read_all(struct pykvm_transfer *transfer, int fd)
{
    int error = call(fd, KVM_GET_REGS, &transfer->regs);
    error = error ? error : call(fd, KVM_GET_SREGS, &transfer->sregs);
    error = error ? error : call(fd, KVM_GET_XCRS, &transfer->xcrs);
    error = error ? error : call(fd, KVM_GET_VCPU_EVENTS, &transfer->events);
    error = error ? error : call(fd, KVM_GET_DEBUGREGS, &transfer->debug);
    error = error ? error : get_msrs(transfer, fd);
#ifdef KVM_GET_XSAVE2
    if (!error && transfer->xsave_bytes)
        return call(fd, KVM_GET_XSAVE2, transfer->xsave);
#endif
    return error ? error : call(fd, KVM_GET_XSAVE, transfer->xsave);
}

/* `refused`: for an instruction that KVM has refused to emulate. */
int pykvm_transfer_in(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_cpu *cpu,
                      bool refused)
{
    struct emu_state state;
    int error = read_all(transfer, vcpu_fd);
    if (error)
        return error;
    memset(&state, 0, sizeof(state));
    regs_in(&transfer->regs, &state);
    sregs_in(&transfer->sregs, &state);
    xsave_in(transfer->xsave, &state);
    if (pkru_there(transfer))
        memcpy(&state.pkru, transfer->xsave + transfer->pkru_offset, sizeof(state.pkru));
    events_in(&transfer->events, &state, refused);
    state.xcr0 = transfer->xcrs.nr_xcrs ? transfer->xcrs.xcrs[0].value : X87;
    for (size_t i = 0; i < 4; i++)
        state.dr[i] = transfer->debug.db[i];
    state.dr[6] = transfer->debug.dr6;
    state.dr[7] = transfer->debug.dr7;
    error = emu_cpu_set_state(cpu, &state);
    if (!error)
        msrs_in(transfer, cpu);
    return error;
}

static int write_debug(struct pykvm_transfer *transfer, int fd, const struct emu_state *state)
{
    struct kvm_debugregs debug = transfer->debug;
    for (size_t i = 0; i < 4; i++)
        debug.db[i] = state->dr[i];
    debug.dr6 = state->dr[6];
    debug.dr7 = state->dr[7];
    if (!memcmp(&debug, &transfer->debug, sizeof(debug)))
        return 0;
    transfer->debug = debug;
    return call(fd, KVM_SET_DEBUGREGS, &debug);
}

static int write_units(struct pykvm_transfer *transfer, int fd, const struct emu_state *state)
{
    int error = 0;
    if (transfer->xcrs.nr_xcrs && transfer->xcrs.xcrs[0].value != state->xcr0) {
        transfer->xcrs.xcrs[0].value = state->xcr0;
        error = call(fd, KVM_SET_XCRS, &transfer->xcrs);
    }
    xsave_out(state, transfer->xsave);
    if (pkru_there(transfer))
        memcpy(transfer->xsave + transfer->pkru_offset, &state->pkru, sizeof(state->pkru));
    return error ? error : call(fd, KVM_SET_XSAVE, transfer->xsave);
}

static int write_system(struct pykvm_transfer *transfer, int fd, const struct emu_state *state)
{
    struct kvm_sregs sregs = transfer->sregs;
    struct kvm_vcpu_events events = events_out(state, &transfer->events);
    sregs_out(state, &sregs);
    int error = 0;
    if (memcmp(&sregs, &transfer->sregs, sizeof(sregs))) {
        memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
        error = call(fd, KVM_SET_SREGS, &sregs);
        transfer->sregs = sregs;
    }
    transfer->events.flags = events.flags;
    if (!error && memcmp(&events, &transfer->events, sizeof(events)))
        error = call(fd, KVM_SET_VCPU_EVENTS, &events);
    transfer->events = events;
    return error;
}

int pykvm_transfer_out(struct pykvm_transfer *transfer, int vcpu_fd, struct emu_cpu *cpu)
{
    struct emu_state state;
    emu_cpu_get_state(cpu, &state);
    struct kvm_regs regs = regs_out(&state);
    int error = write_system(transfer, vcpu_fd, &state);
    error = error ? error : call(vcpu_fd, KVM_SET_REGS, &regs);
    error = error ? error : write_units(transfer, vcpu_fd, &state);
    error = error ? error : write_debug(transfer, vcpu_fd, &state);
    return error ? error : msrs_out(transfer, vcpu_fd, cpu);
}
