// Line statistics with NEON, which every 64-bit ARM processor has: a block is four vectors of 16 bytes.
#include "native.h"

#ifdef STARLOOM_ARM
#include <arm_neon.h>

#define KERNEL lines_neon
#define TARGET

typedef uint8x16x4_t Block;
typedef uint8x16x4_t Bytes;

static inline Block load(const uint8_t *p) { return (Block){{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}}; }

static inline Block lower(Block block) {
    for (int k = 0; k < 4; k++) block.val[k] = vorrq_u8(block.val[k], vdupq_n_u8(0x20));
    return block;
}

static inline Bytes in_range(Block block, uint8_t first, uint8_t last) {
    for (int k = 0; k < 4; k++) {
        uint8x16_t above = vsubq_u8(block.val[k], vdupq_n_u8(first));   // unsigned: what lies below first wraps to the top
        block.val[k] = vcleq_u8(above, vdupq_n_u8((uint8_t)(last - first)));
    }
    return block;
}

static inline Bytes either(Bytes a, Bytes b) {
    for (int k = 0; k < 4; k++) a.val[k] = vorrq_u8(a.val[k], b.val[k]);
    return a;
}

// NEON has no movemask: each byte keeps the bit of its place among eight, and three pairwise sums bring eight bytes together in one.
static inline uint64_t bits(Bytes bytes) {
    const uint8x16_t place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    for (int k = 0; k < 4; k++) bytes.val[k] = vandq_u8(bytes.val[k], place);
    uint8x16_t pairs = vpaddq_u8(vpaddq_u8(bytes.val[0], bytes.val[1]), vpaddq_u8(bytes.val[2], bytes.val[3]));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)), 0);
}

#include "lines_kernel.h"
#else
typedef int nothing_for_this_processor;     // ISO C wants one declaration in each file
#endif
