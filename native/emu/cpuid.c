/* What the processor says that it is. A bit stands here once its instructions work. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "xstate.h"

#define BIT(n) (1u << (n))

#define VENDOR_AMD_EBX 0x68747541u /* "Auth" */
/* Leaf 1. Family 6, model 3F, stepping 2. */
#define SIGNATURE 0x000306f2u
#define LEAF1_APIC_ECX (BIT(21) /* x2APIC */ | BIT(24) /* TSC deadline */)
#define LEAF1_APIC_EDX BIT(9)   /* APIC */
#define LEAF1_STATE_ECX BIT(26) /* XSAVE */
#define LEAF1_STATE_EDX (BIT(0) /* FPU */ | BIT(24) /* FXSR */)
#define LEAF1_VECTOR_ECX                                                                           \
    (BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | BIT(12) /* FMA */ |         \
     BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ | BIT(25) /* AES */ | BIT(28) /* AVX */ |         \
     BIT(29) /* F16C */)
#define LEAF1_VECTOR_EDX (BIT(23) /* MMX */ | BIT(25) /* SSE */ | BIT(26) /* SSE2 */)
#define LEAF1_ECX                                                                                  \
    (BIT(13) /* CMPXCHG16B */ | BIT(17) /* PCID */ | BIT(22) /* MOVBE */ | BIT(23) /* POPCNT */ |  \
     BIT(30) /* RDRAND */ | BIT(31) /* hypervisor */ | LEAF1_APIC_ECX | LEAF1_STATE_ECX |          \
     LEAF1_VECTOR_ECX)
#define LEAF1_EDX                                                                                  \
    (BIT(2) /* DE */ | BIT(3) /* PSE */ | BIT(4) /* TSC */ | BIT(5) /* MSR */ | BIT(6) /* PAE */ | \
     BIT(7) /* MCE */ | BIT(8) /* CX8 */ | BIT(11) /* SEP */ | BIT(12) /* MTRR */ |                \
     BIT(13) /* PGE */ | BIT(14) /* MCA */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ |              \
     BIT(17) /* PSE36 */ | BIT(19) /* CLFSH */ | LEAF1_APIC_EDX | LEAF1_STATE_EDX |                \
     LEAF1_VECTOR_EDX)
/* Leaf 15: the local APIC's timer counts this. */
#define APIC_BUS_HZ 1000000000u
#define APIC_BUS_KHZ (APIC_BUS_HZ / 1000)
/* Leaf 7. */
#define LEAF7_EBX                                                                                  \
    (BIT(0) /* FSGSBASE */ | BIT(1) /* TSC_ADJUST */ | BIT(3) /* BMI1 */ | BIT(5) /* AVX2 */ |     \
     BIT(7) /* SMEP */ | BIT(8) /* BMI2 */ | BIT(9) /* ERMS */ | BIT(10) /* INVPCID */ |           \
     BIT(13) /* FCS and FDS are 0 */ | BIT(18) /* RDSEED */ | BIT(19) /* ADX */ |                  \
     BIT(20) /* SMAP */ | BIT(23) /* CLFLUSHOPT */ | BIT(24) /* CLWB */ | BIT(29) /* SHA */)
#define LEAF7_ECX                                                                                  \
    (BIT(2) /* UMIP */ | BIT(3) /* PKU */ | BIT(16) /* LA57 */ | BIT(22) /* RDPID */ |             \
     BIT(31) /* PKS */)
#define LEAF7_EDX (BIT(26) /* IBRS, IBPB */ | BIT(29) /* ARCH_CAPABILITIES */)
/* Leaf D, subleaf 1. */
#define LEAFD_EAX                                                                                  \
    (BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(2) /* XGETBV 1 */ | BIT(3) /* XSAVES */)
/* Leaf 80000001. */
#define EXTENDED_ECX                                                                               \
    (BIT(0) /* LAHF in 64-bit mode */ | BIT(5) /* LZCNT */ | BIT(8) /* PREFETCHW */)
#define EXTENDED_EDX                                                                               \
    (BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(26) /* 1 GiB pages */ | BIT(27) /* RDTSCP */ | \
     BIT(29) /* long mode */)

static const struct emu_cpuid supported[] = {
    {0, EMU_CPUID_ANY, 0x16, 0x756e6547, 0x6c65746e, 0x49656e69}, /* GenuineIntel */
    {1, EMU_CPUID_ANY, SIGNATURE, 0x00010800, LEAF1_ECX, LEAF1_EDX},
    {2, EMU_CPUID_ANY, 0x00000001, 0, 0, 0},
    {6, EMU_CPUID_ANY, BIT(2), 0, 0, 0}, /* the local APIC's timer never stops */
    {7, 0, 0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX},
    {0xd, 0, XSTATE_ALL, 0, XSTATE_PKRU + XSTATE_PKRU_BYTES, 0},
    {0xd, 1, LEAFD_EAX, 0, 0, 0}, /* EBX of both: see `xsave_bytes` */
    {0xd, 2, XSTATE_BYTES - XSTATE_YMM, XSTATE_YMM, 0, 0},
    {0xd, 9, XSTATE_PKRU_BYTES, XSTATE_PKRU, 0, 0},
    {0x15, EMU_CPUID_ANY, 1, 1, APIC_BUS_HZ, 0}, /* see `frequencies` */
    {0x16, EMU_CPUID_ANY, 0, 0, 0, 0},
    {0x80000000, EMU_CPUID_ANY, 0x80000008, 0, 0, 0},
    {0x80000001, EMU_CPUID_ANY, 0, 0, EXTENDED_ECX, EXTENDED_EDX},
    {0x80000002, EMU_CPUID_ANY, 0x766b7970, 0x6d65206d, 0x74616c75, 0x726f},
    {0x80000003, EMU_CPUID_ANY, 0, 0, 0, 0},
    {0x80000004, EMU_CPUID_ANY, 0, 0, 0, 0},
    {0x80000007, EMU_CPUID_ANY, 0, 0, 0, BIT(8)}, /* invariant TSC */
    {0x80000008, EMU_CPUID_ANY, 0x392e, 0, 0, 0}, /* 46 physical, 57 linear bits */
};

#define SUPPORTED (sizeof(supported) / sizeof(supported[0]))

/* What the emulator has. Returns the number of entries, of which at most `max` are stored. */
uint32_t emu_cpuid_supported(struct emu_cpuid *entries, uint32_t max)
{
    memcpy(entries, supported, (SUPPORTED < max ? SUPPORTED : max) * sizeof(*entries));
    return SUPPORTED;
}

static const struct emu_cpuid *find(const struct emu_cpuid *table, uint32_t count, uint32_t leaf,
                                    uint32_t subleaf)
{
    for (uint32_t i = 0; i < count; i++)
        if (table[i].leaf == leaf &&
            (table[i].subleaf == subleaf || table[i].subleaf == EMU_CPUID_ANY))
            return &table[i];
    return NULL;
}

static uint32_t word_of(const struct emu_cpuid *table, uint32_t count, uint32_t leaf,
                        uint32_t subleaf, size_t offset)
{
    uint32_t word = 0;
    const struct emu_cpuid *entry = find(table, count, leaf, subleaf);
    if (entry)
        memcpy(&word, (const uint8_t *)entry + offset, sizeof(word));
    return word;
}

/* What a table offers of what there is here. MONITOR is here, and offered only by tables that
 * say so: guests that wait by it would not sleep. */
static struct emu_features features_of(const struct emu_cpuid *table, uint32_t count)
{
    static const struct {
        uint32_t leaf, subleaf;
        size_t offset;
        uint32_t present;
    } words[EMU_FEATURE_WORDS] = {
        [EMU_1_EDX] = {1, 0, offsetof(struct emu_cpuid, edx), LEAF1_EDX},
        [EMU_1_ECX] = {1, 0, offsetof(struct emu_cpuid, ecx), LEAF1_ECX | BIT(3)},
        [EMU_7_EBX] = {7, 0, offsetof(struct emu_cpuid, ebx), LEAF7_EBX},
        [EMU_7_ECX] = {7, 0, offsetof(struct emu_cpuid, ecx), LEAF7_ECX},
        [EMU_7_EDX] = {7, 0, offsetof(struct emu_cpuid, edx), LEAF7_EDX},
        [EMU_D1_EAX] = {0xd, 1, offsetof(struct emu_cpuid, eax), LEAFD_EAX},
        [EMU_EXT_ECX] = {0x80000001, 0, offsetof(struct emu_cpuid, ecx), EXTENDED_ECX},
        [EMU_EXT_EDX] = {0x80000001, 0, offsetof(struct emu_cpuid, edx), EXTENDED_EDX},
    };
    struct emu_features features;
    for (unsigned i = 0; i < EMU_FEATURE_WORDS; i++)
        features.word[i] = words[i].present &
                           word_of(table, count, words[i].leaf, words[i].subleaf, words[i].offset);
    features.amd = word_of(table, count, 0, 0, offsetof(struct emu_cpuid, ebx)) == VENDOR_AMD_EBX;
    return features;
}

/* Every processor begins as the first model. */
static bool others_are(const struct emu_cpu *cpu, const struct emu_features *model)
{
    for (const struct emu_cpu *other = cpu->vm->cpus; other; other = other->next)
        if (other != cpu && other->features == model)
            return true;
    return model == cpu->vm->model;
}

void emu_models_init(struct emu_vm *vm)
{
    vm->model[0] = features_of(supported, SUPPORTED);
}

/* The machine's model with these features. Code is decoded for a model, and most machines have one
 * or two; NULL where EMU_MODELS are not enough. Nobody executes. */
static const struct emu_features *model_with(struct emu_cpu *cpu,
                                             const struct emu_features *features)
{
    struct emu_vm *vm = cpu->vm;
    struct emu_features *unused = NULL;
    for (unsigned i = 0; i < EMU_MODELS; i++) {
        struct emu_features *model = &vm->model[i];
        if (!memcmp(model, features, sizeof(*features)))
            return model;
        if (!unused && !others_are(cpu, model))
            unused = model;
    }
    if (unused) {
        *unused = *features;
        vm->cache.flush_wanted = true; /* code of whoever was this model */
    }
    return unused;
}

/* Where a table has PKRU in XSAVE's standard form: behind AVX's part, in what can be accessed. */
static uint32_t pkru_offset_of(const struct emu_cpuid *table, uint32_t count)
{
    uint32_t offset = word_of(table, count, 0xd, 9, offsetof(struct emu_cpuid, ebx));
    bool usable = offset >= XSTATE_PKRU && offset < EMU_PAGE_BYTES && offset % 8 == 0;
    return usable ? offset : XSTATE_PKRU;
}

static void become(struct emu_cpu *cpu, const struct emu_features *model)
{
    cpu->features = model;
    cpu->model_mode = (uint32_t)(model - cpu->vm->model) << EMU_MODE_MODEL_SHIFT;
    emu_code_changed(cpu);
    emu_mode_changed(cpu);
}

/* Make CPUID answer from a copy of this table, and the processor have what it says. Returns 0,
 * -ENOMEM, or -ENOSPC where a machine has too many different processors. */
int emu_cpu_set_cpuid(struct emu_cpu *cpu, const struct emu_cpuid *entries, uint32_t count)
{
    struct emu_features features = features_of(entries, count);
    struct emu_cpuid *copy = calloc(count ? count : 1, sizeof(*copy)), *unused = copy;
    if (!copy)
        return -ENOMEM;
    memcpy(copy, entries, count * sizeof(*copy));
    emu_vm_freeze(cpu->vm);
    const struct emu_features *model = model_with(cpu, &features);
    if (model) {
        become(cpu, model);
        unused = cpu->cpuid;
        cpu->cpuid = copy;
        cpu->cpuid_count = count;
        cpu->pkru_offset = pkru_offset_of(entries, count);
    }
    emu_vm_thaw(cpu->vm);
    free(unused);
    return model ? 0 : -ENOSPC;
}

/* What the time stamp counter counts, so that no system needs to measure it: a ratio to the
 * bus in leaf 15, MHz in leaf 16. */
static void frequencies(const struct emu_cpu *cpu, struct emu_cpuid *out)
{
    uint32_t khz = cpu->vm->tsc_khz;
    bool same = khz == APIC_BUS_KHZ;
    if (out->leaf == 0x15) {
        out->eax = same ? 1 : APIC_BUS_KHZ;
        out->ebx = same ? 1 : khz;
    } else {
        out->eax = out->ebx = khz / 1000;
    }
}

/* A processor without a local APIC, or with one that is off, has none of its features. */
static void local_apic(const struct emu_cpu *cpu, struct emu_cpuid *out)
{
    if (cpu->lapic && (cpu->msr.apic_base & APIC_BASE_ENABLED))
        return;
    out->edx &= ~LEAF1_APIC_EDX;
    if (!cpu->lapic)
        out->ecx &= ~LEAF1_APIC_ECX;
}

/* Of an image of all that XCR0 enables now, in the standard or the compacted form. */
static uint32_t xsave_bytes(const struct emu_cpu *cpu, bool compacted)
{
    uint32_t before = cpu->xcr0 & XCR0_AVX ? XSTATE_BYTES : XSTATE_YMM;
    if (!(cpu->xcr0 & XCR0_PKRU))
        return before;
    return (compacted ? before : cpu->pkru_offset) + XSTATE_PKRU_BYTES;
}

/* One leaf, with what follows the processor's present state put in. */
void emu_cpuid(struct emu_cpu *cpu, uint32_t leaf, uint32_t subleaf, struct emu_cpuid *out)
{
    const struct emu_cpuid *entry = cpu->cpuid ? find(cpu->cpuid, cpu->cpuid_count, leaf, subleaf)
                                               : find(supported, SUPPORTED, leaf, subleaf);
    *out = entry ? *entry : (struct emu_cpuid){0};
    if (!entry)
        return;
    if (leaf == 0xd && subleaf < 2)
        out->ebx = xsave_bytes(cpu, subleaf == 1);
    if (leaf == 1) {
        out->ebx = (out->ebx & 0x00ffffff) | cpu->index << 24;
        out->ecx = (out->ecx & ~BIT(27)) | (cpu->cr4 & CR4_OSXSAVE ? BIT(27) : 0);
        local_apic(cpu, out);
    } else if (leaf == 7 && subleaf == 0) {
        out->ecx = (out->ecx & ~BIT(4)) | (cpu->cr4 & CR4_PKE ? BIT(4) : 0);
    } else if (leaf == 0x15 || leaf == 0x16) {
        frequencies(cpu, out);
    } else if (leaf == 0xb || leaf == 0x1f) {
        out->edx = cpu->index; /* the x2APIC's number */
    }
}
