// Line statistics in plain C: eight bytes at a time in a 64-bit word.
#include <stdint.h>
#include <string.h>

#define KERNEL lines_plain
#define TARGET

#define EACH (~(uint64_t)0 / 255)   // 1 in each byte

typedef struct {
    uint64_t word[8];
} Block;
typedef Block Bytes;    // 0x80 is true, 0 is false

static inline Block load(const uint8_t *p) {
    Block block;
    memcpy(block.word, p, 64);
    return block;
}

static inline Block lower(Block block) {
    for (int k = 0; k < 8; k++) block.word[k] |= 0x20 * EACH;
    return block;
}

// first and last lie in the same half, below 0x80 or above: adding 0x80 - first to the low seven bits carries into the eighth from first on.
static inline Bytes in_range(Block block, uint8_t first, uint8_t last) {
    for (int k = 0; k < 8; k++) {
        uint64_t low = block.word[k] & 0x7f * EACH;
        uint64_t inside = (low + (0x80 - (first & 0x7fu)) * EACH) & ~(low + (0x7f - (last & 0x7fu)) * EACH);
        block.word[k] = inside & (first < 0x80 ? ~block.word[k] : block.word[k]) & 0x80 * EACH;
    }
    return block;
}

static inline Bytes either(Bytes a, Bytes b) {
    for (int k = 0; k < 8; k++) a.word[k] |= b.word[k];
    return a;
}

static inline uint64_t bits(Bytes bytes) {
    uint64_t mask = 0;
    for (int k = 0; k < 8; k++) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        bytes.word[k] = __builtin_bswap64(bytes.word[k]);
#endif
        mask |= (bytes.word[k] >> 7) * 0x0102040810204080 >> 56 << 8 * k;   // gathers the eight bits in the top byte
    }
    return mask;
}

#include "lines_kernel.h"
