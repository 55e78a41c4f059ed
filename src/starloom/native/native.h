// The native kernels of starloom: plain C11, no Python, called through ctypes (library.py).
//
// A kernel is written once, over blocks of 64 bytes, in a header that each instruction set includes (lines_kernel.h); a file per
// instruction set (lines_avx2.c, ...) says how a block is loaded and compared. All of them give the same result, bit for bit.
#ifndef STARLOOM_NATIVE_H
#define STARLOOM_NATIVE_H

#include <stdint.h>

#if defined(__x86_64__)
#define STARLOOM_X86 1
#elif defined(__aarch64__)
#define STARLOOM_ARM 1
#endif

#define EXPORT __attribute__((visibility("default")))

// The numbers are part of the interface: library.py names the bits in this order, best last.
enum { PLAIN = 0, NEON = 1, AVX2 = 2, AVX512 = 3 };

// Bit k is set where instruction set k was compiled in and this processor and operating system have it.
EXPORT uint32_t starloom_instruction_sets(void);

// "DIGEST COMPILER": the digest of the sources that the library was built from, which must be those beside it, and what built it (build.py).
EXPORT const char *starloom_built_from(void);

// Which code points are alphanumeric: bit c % 256 of the 32 bytes at blocks + 32 * index[c / 256]. index has 0x1100 entries (alphanumeric.py).
typedef struct {
    const uint16_t *index;
    const uint8_t *blocks;
} Alphanumerics;

typedef struct {
    int64_t lines, longest_line, line_characters, characters, alphanumeric;
} LineStatistics;

typedef void LineKernel(const uint8_t *text, int64_t size, Alphanumerics table, LineStatistics *result);
LineKernel lines_plain, lines_neon, lines_avx2, lines_avx512;

// Statistics of `documents` documents, the bytes data[offsets[d]] to data[offsets[d + 1]] each, into result[5][documents] in the order
// of LineStatistics. The caller has checked the offsets. Returns 0, or -1 where the instruction set is not to be had here.
EXPORT int starloom_line_statistics(int instruction_set, const uint8_t *data, const int64_t *offsets, int64_t documents,
                                    const uint16_t *index, const uint8_t *blocks, int threads, int64_t *result);

#endif
