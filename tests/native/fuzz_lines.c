// Fuzzes the line kernels: every instruction set of this machine against a naive reference, on documents from a fixed generator.
// Each document lies alone in an allocation of its size, so that a sanitizer sees one byte read too many.
// usage: fuzz_lines DOCUMENTS; prints the instruction sets and a digest of all results, which is the same on every machine.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

static const char *const NAMES[] = {"plain", "neon", "avx2", "avx512"};
enum { BLOCKS = 61, INDEX = 0x1100, LONGEST = 400 };

static uint64_t state = 88172645463325252u;
static uint64_t draw(uint64_t n) {     // xorshift64 (Marsaglia 2003)
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 11) % n;
}

static uint16_t *alphanumeric_index;
static uint8_t *alphanumeric_blocks;

static int is_alphanumeric(uint32_t code) {
    if (code < 0x80) return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
    return alphanumeric_blocks[alphanumeric_index[code / 256] * 32 + code % 256 / 8] >> code % 8 & 1;
}

static int encode(uint32_t code, uint8_t *out) {
    if (code < 0x80) return out[0] = (uint8_t)code, 1;
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int k = length - 1; k > 0; k--, code >>= 6) out[k] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)((0xf00 >> length & 0xff) | code);
    return length;
}

// Well-formed means: what encoding the code point again gives. Slow and plain on purpose.
static int well_formed(const uint8_t *p, int length, uint32_t *code) {
    static const uint8_t payload[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    *code = p[0] & payload[length];
    for (int k = 1; k < length; k++) *code = *code << 6 | (p[k] & 0x3f);
    uint8_t again[4];
    return *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff) && encode(*code, again) == length && !memcmp(again, p, (size_t)length);
}

static int next_character(const uint8_t *p, int64_t n, uint32_t *code) {
    for (int length = 1; length <= 4 && length <= n; length++)
        if (well_formed(p, length, code)) return length;
    for (int length = 4; length > 2; length--)          // the longest start that some continuation bytes would complete
        for (int start = length - 1; start > 1; start--) {
            uint8_t padded[4] = {0x80, 0x80, 0x80, 0x80};
            if (start <= n && well_formed(memcpy(padded, p, (size_t)start), length, code)) return *code = 0xfffd, start;
        }
    *code = 0xfffd;
    return 1;
}

static LineStatistics reference(const uint8_t *text, int64_t size) {
    LineStatistics r = {0, 0, 0, 0, 0};
    int64_t length = 0;
    uint32_t code = 0, previous;
    int open = 0;      // a line has begun
    for (int64_t at = 0; at < size;) {
        previous = code;
        at += next_character(text + at, size - at, &code);
        r.characters++;
        r.alphanumeric += is_alphanumeric(code);
        if ((code >= 10 && code <= 13) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 || code == 0x2029) {
            if (!(code == '\n' && previous == '\r')) r.lines++;
            length = open = 0;
        } else {
            open = 1, length++, r.line_characters++;
            if (length > r.longest_line) r.longest_line = length;
        }
    }
    r.lines += open;
    return r;
}

static const uint32_t EDGES[] = {0x7f, 0x80, 0x85, 0xff, 0x7ff, 0x800, 0x2027, 0x2028, 0x2029, 0xd7ff, 0xe000, 0xfffd, 0xffff, 0x10000, 0x10ffff};

static uint32_t a_character(int style) {
    static const char ends[] = "\n\r\n\r\n\v\f\x1c\x1d\x1e";
    if (draw(style == 2 ? 3 : 24) == 0) return (uint8_t)ends[draw(sizeof ends - 1)];
    if (style == 0 || draw(4) == 0) return (uint32_t)draw(0x80);
    if (draw(6) == 0) return EDGES[draw(sizeof EDGES / sizeof *EDGES)];
    static const uint32_t limits[] = {0x800, 0xd800, 0x110000};
    uint32_t code = (uint32_t)draw(limits[draw(3)]);
    return code >= 0xd800 && code <= 0xdfff ? 0x4e00 : code;
}

// style 0 ASCII, 1 Unicode, 2 mostly line ends, 3 broken Unicode, 4 bytes
static size_t a_document(uint8_t *out) {
    int style = (int)draw(5);
    size_t size = 0, wanted = draw(3) ? draw(LONGEST - 4) : 64 * draw(5) + draw(5);
    while (size < wanted)
        if (style == 4) out[size++] = (uint8_t)draw(256);
        else size += (size_t)encode(a_character(style), out + size);
    if (style == 3)
        for (size_t k = 0; k < size; k += 20) out[draw(size)] = (uint8_t)(draw(2) ? 0x80 | draw(128) : draw(256));
    return draw(2) ? wanted : size;     // the last character may be cut
}

static void compare(int set, int64_t document, const uint8_t *text, int64_t size, const LineStatistics *expected, const int64_t *found, int64_t step) {
    const int64_t *e = (const int64_t *)expected;
    for (int k = 0; k < 5; k++)
        if (found[k * step] != e[k]) {
            printf("%s: document %lld: statistic %d is %lld, expected %lld:", NAMES[set], (long long)document, k, (long long)found[k * step], (long long)e[k]);
            for (int64_t i = 0; i < size; i++) printf(" %02x", text[i]);
            printf("\n");
            exit(1);
        }
}

int main(int argc, char **argv) {
    int64_t documents = argc > 1 ? atoll(argv[1]) : 1000;
    alphanumeric_index = malloc(INDEX * sizeof *alphanumeric_index);
    alphanumeric_blocks = malloc(BLOCKS * 32);
    for (int k = 0; k < INDEX; k++) alphanumeric_index[k] = (uint16_t)draw(BLOCKS);
    for (int k = 0; k < BLOCKS * 32; k++) alphanumeric_blocks[k] = (uint8_t)draw(256);


    uint64_t digest = 14695981039346656037u;    // FNV-1a
    uint32_t sets = starloom_instruction_sets();
    uint8_t *all = malloc((size_t)documents * LONGEST + 1);
    int64_t *offsets = calloc((size_t)documents + 1, sizeof *offsets), *found = malloc(5 * (size_t)documents * sizeof *found);
    LineStatistics *expected = malloc((size_t)documents * sizeof *expected);
    for (int64_t d = 0; d < documents; d++) {
        uint8_t scratch[LONGEST];
        size_t size = a_document(scratch);
        int64_t ends[2] = {0, (int64_t)size};
        uint8_t *text = malloc(size);   // glibc and the sanitizers give an address for 0 bytes too
        memcpy(text, scratch, size);
        expected[d] = reference(text, ends[1]);
        for (int k = 0; k < 5; k++) digest = (digest ^ (uint64_t)((int64_t *)&expected[d])[k]) * 1099511628211u;
        for (int set = 0; set < 4; set++)
            if (sets >> set & 1) {
                if (starloom_line_statistics(set, text, ends, 1, alphanumeric_index, alphanumeric_blocks, 1, found)) return 2;
                compare(set, d, text, ends[1], &expected[d], found, 1);
            }
        memcpy(all + offsets[d], text, size);
        offsets[d + 1] = offsets[d] + ends[1];
        free(text);
    }
    for (int set = 0; set < 4; set++)       // once more at once, by threads: documents end where others start
        if (sets >> set & 1) {
            if (starloom_line_statistics(set, all, offsets, documents, alphanumeric_index, alphanumeric_blocks, 3, found)) return 2;
            for (int64_t d = 0; d < documents; d++)
                compare(set, d, all + offsets[d], offsets[d + 1] - offsets[d], &expected[d], found + d, documents);
        }
    for (int set = 0; set < 4; set++)
        if (sets >> set & 1) printf("%s ", NAMES[set]);
    printf("agree on %lld documents, digest %016llx\n", (long long)documents, (unsigned long long)digest);
    free(alphanumeric_index), free(alphanumeric_blocks), free(all), free(offsets), free(found), free(expected);
    return 0;
}
