// Which instruction sets may be used here. Asked of the processor itself: not every compiler's run-time library has __builtin_cpu_supports.
#include "native.h"

#ifdef STARLOOM_X86
#include <cpuid.h>

// Which registers the operating system saves: bits 1 and 2 the 16- and 32-byte vectors, bits 5 to 7 those of AVX-512.
static uint32_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint32_t starloom_instruction_sets(void) {
    enum { POPCNT = 1u << 23, OSXSAVE = 1u << 27 };                                             // leaf 1, ecx
    enum { LZCNT = 1u << 5 };                                                                   // leaf 0x80000001, ecx
    enum { BMI1 = 1u << 3, AVX2_BIT = 1u << 5, BMI2 = 1u << 8, AVX512F = 1u << 16, AVX512BW = 1u << 30 };  // leaf 7, ebx
    uint32_t eax, ebx, ecx, edx, sets = 1u << PLAIN;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & (POPCNT | OSXSAVE)) != (POPCNT | OSXSAVE)) return sets;
    uint32_t saved = saved_registers();
    if (!__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) || !(ecx & LZCNT)) return sets;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return sets;
    const uint32_t avx2 = BMI1 | AVX2_BIT | BMI2, avx512 = avx2 | AVX512F | AVX512BW;
    if ((ebx & avx2) == avx2 && (saved & 0x06) == 0x06) sets |= 1u << AVX2;
    if ((ebx & avx512) == avx512 && (saved & 0xe6) == 0xe6) sets |= 1u << AVX512;
    return sets;
}
#elif defined(STARLOOM_ARM)
uint32_t starloom_instruction_sets(void) { return 1u << PLAIN | 1u << NEON; }
#else
uint32_t starloom_instruction_sets(void) { return 1u << PLAIN; }
#endif

const char *starloom_built_from(void) { return STARLOOM_BUILT_FROM; }
