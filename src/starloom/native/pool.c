#define _POSIX_C_SOURCE 200809L
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { MOST_WORKERS = 255 };    // our choice: more threads than any one document shard can feed

// Workers sleep until a job offers seats; each takes one, then takes items until none is left.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t offered, left;
    int workers;        // threads started
    int busy;           // a caller has the pool
    int seats;          // workers that may still join the job
    int working;        // workers in the job
    Task *task;
    void *argument;
    int64_t items;
    atomic_int_fast64_t next;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .offered = PTHREAD_COND_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};

static void take_items(Task *task, void *argument, int64_t items) {
    int64_t item;
    while ((item = atomic_fetch_add(&pool.next, 1)) < items) task(argument, item);
}

static void *worker(void *unused) {
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.seats) pthread_cond_wait(&pool.offered, &pool.lock);
        pool.seats--, pool.working++;
        Task *task = pool.task;
        void *argument = pool.argument;
        int64_t items = pool.items;
        pthread_mutex_unlock(&pool.lock);
        take_items(task, argument, items);
        pthread_mutex_lock(&pool.lock);
        if (!--pool.working) pthread_cond_signal(&pool.left);
    }
    return 0;
}

// Around fork: no job changes hands while the process is copied, and the child, which has one thread, starts with an empty pool.
static void before_fork(void) { pthread_mutex_lock(&pool.lock); }
static void parent_after_fork(void) { pthread_mutex_unlock(&pool.lock); }
static void child_after_fork(void) {
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.offered, 0);
    pthread_cond_init(&pool.left, 0);
    pool.workers = pool.busy = pool.seats = pool.working = 0;
}
// When the library is loaded: at the first job it could come between the halves of a fork.
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(before_fork, parent_after_fork, child_after_fork); }

// Starts workers until there are `wanted` of them, or the system has no more to give. Signals stay with the threads of the program.
static void start_workers(int wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t thread; pool.workers < wanted && !pthread_create(&thread, 0, worker, 0); pool.workers++) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

void pool_run(int threads, int64_t items, Task *task, void *argument) {
    int64_t helpers = threads < items ? threads - 1 : items - 1;
    if (helpers > MOST_WORKERS) helpers = MOST_WORKERS;
    int mine = 0;
    if (helpers > 0) {
        pthread_mutex_lock(&pool.lock);
        if (!pool.busy) {
            mine = pool.busy = 1;
            start_workers((int)helpers);
            pool.task = task, pool.argument = argument, pool.items = items;
            atomic_store(&pool.next, 0);
            pool.seats = helpers < pool.workers ? (int)helpers : pool.workers;
            pthread_cond_broadcast(&pool.offered);
        }
        pthread_mutex_unlock(&pool.lock);
    }
    if (!mine) {
        for (int64_t item = 0; item < items; item++) task(argument, item);
        return;
    }
    take_items(task, argument, items);
    pthread_mutex_lock(&pool.lock);
    pool.seats = 0;
    while (pool.working) pthread_cond_wait(&pool.left, &pool.lock);
    pool.busy = 0;
    pthread_mutex_unlock(&pool.lock);
}
