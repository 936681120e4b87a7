/* RCP and RSQRT: approximations, which raise nothing and know no rounding. The host's own
 * where there is one, so that they are what KVM's are; else to 14 bits, where the manual
 * asks for an error of at most 1.5 * 2^-12. Intel SDM vol. 2B, RCPPS, RSQRTPS. */
#include "fp_host.h"
#include "soft_parts.h"

#if EMU_FP_HOST
#define KERNELS(name)                                                                              \
    EMU_KERNEL(name##ps_kernel)                                                                    \
    {                                                                                              \
        __asm__(#name "ps %1, %0" : "=x"(a) : "x"(b));                                             \
        return a;                                                                                  \
    }                                                                                              \
    EMU_KERNEL(name##ss_kernel)                                                                    \
    {                                                                                              \
        __asm__(#name "ss %1, %0" : "+x"(a) : "x"(b));                                             \
        return a;                                                                                  \
    }
#else
#define FRACTION_BITS 14u

/* The leading bits of sig * 2^(exp - 63) as a float; below the normal range 0. */
static uint32_t cut(bool sign, int exp, uint64_t sig)
{
    uint32_t fraction = (uint32_t)(sig << 1 >> (64 - FRACTION_BITS) << (23 - FRACTION_BITS));
    uint32_t magnitude = exp < -126 ? 0 : (uint32_t)(exp + 127) << 23 | fraction;
    return (uint32_t)emu_sign_bit(32, sign) | magnitude;
}

/* Denormals are zeros; false where x is finite and not zero. */
static bool special(uint32_t raw, struct emu_parts *x, uint32_t *result)
{
    struct emu_soft soft = {.control = MXCSR_RESET | MXCSR_DAZ};
    *x = emu_take_apart(&soft, 32, raw);
    if (x->kind == EMU_IS_FINITE)
        return false;
    *result = (uint32_t)(emu_is_nan(x)                ? raw | emu_quiet_bit(32)
                         : x->kind == EMU_IS_INFINITE ? emu_sign_bit(32, x->sign)
                                                      : emu_infinity(32, x->sign));
    return true;
}

static uint32_t soft_rcp(uint32_t raw)
{
    struct emu_parts x;
    uint32_t result;
    if (special(raw, &x, &result))
        return result;
    /* 1 / 1 is the one quotient that needs no exponent less. */
    if (x.sig == UINT64_C(1) << 63)
        return cut(x.sign, -x.exp, x.sig);
    emu_uint128 one = (emu_uint128)1 << 127;
    return cut(x.sign, -x.exp - 1, (uint64_t)(one / x.sig));
}

/* The largest y with y * y <= x: 32 bits suffice. */
static uint64_t root(uint64_t x)
{
    uint64_t y = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((y | bit) * (y | bit) <= x)
            y |= bit;
    return y;
}

static uint32_t soft_rsqrt(uint32_t raw)
{
    struct emu_parts x;
    uint32_t result;
    if (special(raw, &x, &result) && (!x.sign || x.kind != EMU_IS_INFINITE))
        return result;
    if (x.sign)
        return (uint32_t)emu_default_nan(32);
    bool odd = x.exp & 1;
    /* y is the root of x brought to [1, 4), times 2^30. */
    uint64_t y = root(x.sig >> (odd ? 2 : 3));
    int exp = -(x.exp - odd) / 2;
    if (y == UINT64_C(1) << 30)
        return cut(false, exp, UINT64_C(1) << 63);
    return cut(false, exp - 1, (uint64_t)(((emu_uint128)1 << 94) / y));
}

#define KERNELS(name)                                                                              \
    EMU_KERNEL(name##ps_kernel)                                                                    \
    {                                                                                              \
        emu_u32x4 x = (emu_u32x4)b;                                                                \
        for (unsigned i = 0; i < 4; i++)                                                           \
            x[i] = soft_##name(x[i]);                                                              \
        return (emu_lane)x;                                                                        \
    }                                                                                              \
    EMU_KERNEL(name##ss_kernel)                                                                    \
    {                                                                                              \
        emu_u32x4 x = (emu_u32x4)a;                                                                \
        x[0] = soft_##name(((emu_u32x4)b)[0]);                                                     \
        return (emu_lane)x;                                                                        \
    }
#endif

KERNELS(rcp)
KERNELS(rsqrt)
EMU_VEC_PACKED(rcpps, rcpps_kernel, )
EMU_VEC_SCALAR(rcpss, rcpss_kernel, 4, )
EMU_VEC_PACKED(rsqrtps, rsqrtps_kernel, )
EMU_VEC_SCALAR(rsqrtss, rsqrtss_kernel, 4, )

static const struct emu_row rows[] = {
    EMU_VEC_ROWS_PACKED(0F, 0x52, NP, 0, EMU_VVVV0, rsqrtps),
    EMU_VEC_ROWS_SCALAR(0F, 0x52, PF3, 0, 0, rsqrtss),
    EMU_VEC_ROWS_PACKED(0F, 0x53, NP, 0, EMU_VVVV0, rcpps),
    EMU_VEC_ROWS_SCALAR(0F, 0x53, PF3, 0, 0, rcpss),
};
EMU_FAMILY(emu_family_fp_approx, rows);
