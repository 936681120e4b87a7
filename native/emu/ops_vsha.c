/* SHA-1 and SHA-256: rounds and message schedules. FIPS 180-4; words lie in the sources
 * with the first in the top (SHA-1) or bottom (SHA-256 messages) element. */
#include "vec.h"

static inline uint32_t left(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static inline uint32_t right(uint32_t x, unsigned n)
{
    return left(x, 32 - n);
}

static inline uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (~x & z);
}

static inline uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (x & z) ^ (y & z);
}

static inline emu_lane words(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
    return (emu_lane)(emu_u32x4){w0, w1, w2, w3};
}

EMU_KERNEL(k_sha1nexte)
{
    union emu_elements p = {a}, q = {b};
    q.u32[3] += left(p.u32[3], 30);
    return q.lane;
}

EMU_KERNEL(k_sha1msg1)
{
    return a ^ (emu_lane){b[1], a[0]};
}

EMU_KERNEL(k_sha1msg2)
{
    union emu_elements p = {a}, q = {b};
    uint32_t w16 = left(p.u32[3] ^ q.u32[2], 1);
    return words(left(p.u32[0] ^ w16, 1), left(p.u32[1] ^ q.u32[0], 1),
                 left(p.u32[2] ^ q.u32[1], 1), w16);
}

static EMU_NOINLINE emu_lane sha1_rounds(emu_lane state, emu_lane message, unsigned kind)
{
    static const uint32_t constant[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    union emu_elements p = {state}, w = {message};
    uint32_t a = p.u32[3], b = p.u32[2], c = p.u32[1], d = p.u32[0], e = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t f = kind == 0 ? choose(b, c, d) : kind == 2 ? majority(b, c, d) : b ^ c ^ d;
        uint32_t sum = f + left(a, 5) + w.u32[3 - i] + e + constant[kind];
        e = d;
        d = c;
        c = left(b, 30);
        b = a;
        a = sum;
    }
    return words(d, c, b, a);
}
EMU_KERNEL(k_sha1rnds4)
{
    return sha1_rounds(a, b, insn->imm & 3);
}

static inline uint32_t small_sigma0(uint32_t x)
{
    return right(x, 7) ^ right(x, 18) ^ x >> 3;
}

static inline uint32_t small_sigma1(uint32_t x)
{
    return right(x, 17) ^ right(x, 19) ^ x >> 10;
}

EMU_KERNEL(k_sha256msg1)
{
    union emu_elements p = {a}, q = {b};
    return words(p.u32[0] + small_sigma0(p.u32[1]), p.u32[1] + small_sigma0(p.u32[2]),
                 p.u32[2] + small_sigma0(p.u32[3]), p.u32[3] + small_sigma0(q.u32[0]));
}

EMU_KERNEL(k_sha256msg2)
{
    union emu_elements p = {a}, q = {b};
    uint32_t w16 = p.u32[0] + small_sigma1(q.u32[2]), w17 = p.u32[1] + small_sigma1(q.u32[3]);
    return words(w16, w17, p.u32[2] + small_sigma1(w16), p.u32[3] + small_sigma1(w17));
}

static EMU_NOINLINE emu_lane sha256_rounds(emu_lane cdgh, emu_lane abef, emu_lane message)
{
    union emu_elements p = {cdgh}, q = {abef}, w = {message};
    uint32_t a = q.u32[3], b = q.u32[2], c = p.u32[3], d = p.u32[2];
    uint32_t e = q.u32[1], f = q.u32[0], g = p.u32[1], h = p.u32[0];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t sum = choose(e, f, g) + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + w.u32[i] + h;
        h = g;
        g = f;
        f = e;
        e = sum + d;
        sum += majority(a, b, c) + (right(a, 2) ^ right(a, 13) ^ right(a, 22));
        d = c;
        c = b;
        b = a;
        a = sum;
    }
    return words(f, e, b, a);
}
EMU_KERNEL(k_sha256rnds2)
{
    return sha256_rounds(a, b, cpu->vec[0].lane[0]);
}

#define OPS(name)                                                                                  \
    EMU_VEC_LEGACY(name, k_##name, 16, 15, )                                                       \
    EMU_VEC_TABLE(name)
OPS(sha1nexte)
OPS(sha1msg1)
OPS(sha1msg2)
OPS(sha1rnds4)
OPS(sha256msg1)
OPS(sha256msg2)
OPS(sha256rnds2)

#define ROW(opcode, name) EMU_VEC_ROW_LEGACY(38, opcode, NP, EMU_PURE, name)

static const struct emu_row rows[] = {
    ROW(0xc8, sha1nexte),
    ROW(0xc9, sha1msg1),
    ROW(0xca, sha1msg2),
    ROW(0xcb, sha256rnds2),
    ROW(0xcc, sha256msg1),
    ROW(0xcd, sha256msg2),
    EMU_VEC_ROW_LEGACY(3A, 0xcc, NP, EMU_IMM_U8 | EMU_PURE, sha1rnds4),
};
EMU_FAMILY(emu_family_vsha, rows);
