// Line statistics with AVX-512 (F and BW): a block is one vector, and comparisons yield the 64 bits at once.
#include "native.h"

#ifdef STARLOOM_X86
#include <immintrin.h>

#define KERNEL lines_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx2,bmi,bmi2,lzcnt,popcnt")))

typedef __m512i Block;
typedef __mmask64 Bytes;

static inline TARGET Block load(const uint8_t *p) { return _mm512_loadu_si512(p); }

static inline TARGET Block lower(Block block) { return _mm512_or_si512(block, _mm512_set1_epi8(0x20)); }

static inline TARGET Bytes in_range(Block block, uint8_t first, uint8_t last) {
    __m512i above = _mm512_sub_epi8(block, _mm512_set1_epi8((char)first));     // unsigned: what lies below first wraps to the top
    return _mm512_cmple_epu8_mask(above, _mm512_set1_epi8((char)(last - first)));
}

static inline TARGET Bytes either(Bytes a, Bytes b) { return a | b; }

static inline TARGET uint64_t bits(Bytes bytes) { return bytes; }

#include "lines_kernel.h"
#else
typedef int nothing_for_this_processor;     // ISO C wants one declaration in each file
#endif
