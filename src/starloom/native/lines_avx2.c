// Line statistics with AVX2: a block is two vectors of 32 bytes.
#include "native.h"

#ifdef STARLOOM_X86
#include <immintrin.h>

#define KERNEL lines_avx2
#define TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))

typedef struct {
    __m256i low, high;
} Block;
typedef Block Bytes;

static inline TARGET Block load(const uint8_t *p) {
    return (Block){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))};
}

static inline TARGET Block lower(Block block) {
    __m256i bit = _mm256_set1_epi8(0x20);
    return (Block){_mm256_or_si256(block.low, bit), _mm256_or_si256(block.high, bit)};
}

static inline TARGET __m256i in_range_32(__m256i bytes, uint8_t first, uint8_t last) {
    __m256i above = _mm256_sub_epi8(bytes, _mm256_set1_epi8((char)first));     // unsigned: what lies below first wraps to the top
    return _mm256_cmpeq_epi8(_mm256_min_epu8(above, _mm256_set1_epi8((char)(last - first))), above);
}

static inline TARGET Bytes in_range(Block block, uint8_t first, uint8_t last) {
    return (Bytes){in_range_32(block.low, first, last), in_range_32(block.high, first, last)};
}

static inline TARGET Bytes either(Bytes a, Bytes b) {
    return (Bytes){_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}

static inline TARGET uint64_t bits(Bytes bytes) {
    return (uint32_t)_mm256_movemask_epi8(bytes.low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(bytes.high) << 32;
}

#include "lines_kernel.h"
#else
typedef int nothing_for_this_processor;     // ISO C wants one declaration in each file
#endif
