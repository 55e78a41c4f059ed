// Line statistics of many documents: the instruction set is chosen and the work shared out here.
#include "native.h"
#include "pool.h"

enum { SHARE_BYTES = 1 << 18 };     // documents of about this many bytes are one item of work: large beside its cost, small beside a core's cache

typedef struct {
    LineKernel *kernel;
    const uint8_t *data;
    const int64_t *offsets;
    int64_t documents, *result;
    Alphanumerics table;
} Job;

// The first document that starts at `offset` or later; `documents` if none does.
static int64_t first_from(const Job *job, int64_t offset) {
    int64_t low = 0, high = job->documents;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (job->offsets[middle] < offset) low = middle + 1;
        else high = middle;
    }
    return low;
}

// Share k: the documents that start in the k-th SHARE_BYTES of the data.
static void one_share(void *argument, int64_t share) {
    const Job *job = argument;
    int64_t n = job->documents, start = job->offsets[0] + share * SHARE_BYTES;
    for (int64_t d = first_from(job, start), end = first_from(job, start + SHARE_BYTES); d < end; d++) {
        LineStatistics found;
        job->kernel(job->data + job->offsets[d], job->offsets[d + 1] - job->offsets[d], job->table, &found);
        job->result[d] = found.lines;
        job->result[n + d] = found.longest_line;
        job->result[2 * n + d] = found.line_characters;
        job->result[3 * n + d] = found.characters;
        job->result[4 * n + d] = found.alphanumeric;
    }
}

static LineKernel *kernel_of(int instruction_set) {
    if (instruction_set < 0 || instruction_set > 31 || !(starloom_instruction_sets() >> instruction_set & 1)) return 0;
    switch (instruction_set) {
#ifdef STARLOOM_X86
    case AVX512: return lines_avx512;
    case AVX2: return lines_avx2;
#endif
#ifdef STARLOOM_ARM
    case NEON: return lines_neon;
#endif
    default: return lines_plain;
    }
}

int starloom_line_statistics(int instruction_set, const uint8_t *data, const int64_t *offsets, int64_t documents, const uint16_t *index,
                             const uint8_t *blocks, int threads, int64_t *result) {
    Job job = {kernel_of(instruction_set), data, offsets, documents, result, {index, blocks}};
    if (!job.kernel) return -1;
    int64_t shares = documents ? (offsets[documents] - offsets[0]) / SHARE_BYTES + 1 : 0;
    pool_run(threads, shares, one_share, &job);
    return 0;
}
