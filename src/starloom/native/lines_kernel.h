// The line statistics of one document; included once per instruction set, which defines
//   KERNEL   the function's name                  TARGET   the attribute that lets the compiler use the instructions
//   Block    64 bytes     Bytes   64 truth values, one for each byte
//   load(p)  lower(block) (each byte | 0x20)  in_range(block, first, last)  either(bytes, bytes)  bits(bytes): byte i is bit i
//
// Lines end as str.splitlines ends them, letters and digits are those of str.isalnum, and everything is counted in characters.
// Bytes that are not UTF-8 count as bytes.decode("utf-8", "replace") makes them: U+FFFD, one character, no letter.
#include <string.h>

#include "native.h"

static inline TARGET uint64_t below(int64_t bit) { return bit < 64 ? ((uint64_t)1 << bit) - 1 : ~(uint64_t)0; }

static inline TARGET int64_t count(uint64_t mask) { return __builtin_popcountll(mask); }

static inline TARGET int continues(uint8_t byte) { return (byte & 0xc0) == 0x80; }

// Bytes of the character outside ASCII that starts at p, of which n bytes may be read; 0 where there is no whole, valid one.
static inline TARGET int decode(const uint8_t *p, int64_t n, uint32_t *code) {
    if (p[0] < 0xe0) {
        if (p[0] < 0xc2 || n < 2 || !continues(p[1])) return 0;
        *code = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (p[0] < 0xf0) {
        if (n < 3 || !continues(p[1]) || !continues(p[2])) return 0;
        *code = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        return *code < 0x800 || *code >> 11 == 0xd800 >> 11 ? 0 : 3;   // overlong, surrogate
    }
    if (p[0] > 0xf4 || n < 4 || !continues(p[1]) || !continues(p[2]) || !continues(p[3])) return 0;
    *code = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return *code < 0x10000 || *code > 0x10ffff ? 0 : 4;
}

// Where decode() finds none: the bytes that become one U+FFFD, the longest start of a valid character or one byte (Unicode 15, section 3.9).
static TARGET int replaced(const uint8_t *p, int64_t n) {
    uint8_t lead = p[0];
    if (lead < 0xc2 || lead > 0xf4) return 1;
    uint8_t first = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t last = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (n < 2 || p[1] < first || p[1] > last) return 1;
    return lead >= 0xf0 && n > 2 && continues(p[2]) ? 3 : 2;
}

TARGET void KERNEL(const uint8_t *text, int64_t size, Alphanumerics table, LineStatistics *result) {
    int64_t characters = 0, ends_seen = 0, line_breaks = 0, longest = 0, alphanumeric = 0;
    int64_t line_start = 0;         // in characters, as is every position but `at`
    uint64_t after_return = 0;      // 1 when the last byte was \r
    for (int64_t at = 0, n; at < size; at += n) {
        n = size - at < 64 ? size - at : 64;
        const uint8_t *p = text + at;
        uint8_t tail[64] = {0};     // NUL neither ends a line nor is a letter
        if (n < 64) p = memcpy(tail, p, (size_t)n);
        Block block = load(p);
        uint64_t ends = bits(either(in_range(block, '\n', '\r'), in_range(block, 0x1c, 0x1e)));
        uint64_t letters = bits(either(in_range(block, '0', '9'), in_range(lower(block), 'a', 'z')));
        uint64_t returns = bits(in_range(block, '\r', '\r'));
        uint64_t high = bits(in_range(block, 0x80, 0xff));
        uint64_t starts = below(n); // bytes that start a character

        if (high) {
            // A block ends early where a character is cut or invalid, so that only its first can be; n is at least 4 there, or the rest.
            int valid = 1;
            for (uint64_t rest = high; rest;) {
                int64_t i = __builtin_ctzll(rest);
                uint32_t code;
                int length = decode(p + i, n - i, &code);
                if (!length) {
                    valid = i > 0;
                    n = valid ? i : replaced(p, n);
                    break;
                }
                rest &= ~(uint64_t)0 << i << length;
                alphanumeric += table.blocks[table.index[code >> 8] * 32 + (code >> 3 & 31)] >> (code & 7) & 1;
                ends |= (uint64_t)(code == 0x85 || code == 0x2028 || code == 0x2029) << i;
            }
            starts = valid ? below(n) & ~bits(in_range(block, 0x80, 0xbf)) : 1;
            ends &= below(n), letters &= below(n), returns &= below(n);
        }

        alphanumeric += count(letters);
        ends_seen += count(ends);
        line_breaks += count(ends);
        if (returns | after_return) {   // \r\n breaks a line once
            uint64_t feeds = bits(in_range(block, '\n', '\n')) & below(n);
            line_breaks -= count(feeds & (returns << 1 | after_return));
            after_return = returns >> (n - 1);
        }
        if (ends) {
            int64_t length = characters + count(starts & below(__builtin_ctzll(ends))) - line_start;
            longest = length > longest ? length : longest;
            int64_t last = 63 - __builtin_clzll(ends);
            line_start = characters + count(starts & below(last)) + 1;
            // The lines between lie within the block, so a longest line of 63 makes them uninteresting: most files have one soon.
            if (longest < 63) {
                int64_t previous = count(starts & below(__builtin_ctzll(ends)));
                for (ends &= ends - 1; ends; ends &= ends - 1) {
                    int64_t here = count(starts & below(__builtin_ctzll(ends)));
                    longest = here - previous - 1 > longest ? here - previous - 1 : longest;
                    previous = here;
                }
            }
        }
        characters += count(starts);
    }
    int64_t length = characters - line_start;   // of a last line without an end
    result->lines = line_breaks + (length > 0);
    result->longest_line = length > longest ? length : longest;
    result->line_characters = characters - ends_seen;
    result->characters = characters;
    result->alphanumeric = alphanumeric;
}
