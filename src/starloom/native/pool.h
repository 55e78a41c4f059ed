// A small thread pool, shared by all kernels.
#ifndef STARLOOM_POOL_H
#define STARLOOM_POOL_H

#include <stdint.h>

typedef void Task(void *argument, int64_t item);

// Runs task(argument, item) for every item from 0 to items - 1, on `threads` threads at most, the caller's among them, and returns when
// all are done. Safe across fork: a child starts its own threads when it first needs them. Of two callers at once, the second works alone.
void pool_run(int threads, int64_t items, Task *task, void *argument);

#endif
