// Forks while another thread has the pool at work: each child must compute, with threads of its own.
// usage: fork_pool CHILDREN. In C, for a Python that forks while its threads compute may hang in locks of its own.
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"

enum { ITEMS = 1000, THREADS = 4 };

static void add(void *sum, int64_t item) { atomic_fetch_add((atomic_int_fast64_t *)sum, item); }

static int computes(void) {
    atomic_int_fast64_t sum = 0;
    pool_run(THREADS, ITEMS, add, &sum);
    return sum == (int64_t)ITEMS * (ITEMS - 1) / 2;
}

static int threads_of_this_process(void) {
    int threads = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(folder));) threads += entry->d_name[0] != '.';
    closedir(folder);
    return threads;
}

static atomic_int done;
static void *keep_busy(void *unused) {
    while (!done)
        if (!computes()) abort();
    return unused;
}

int main(int argc, char **argv) {
    int children = argc > 1 ? atoi(argv[1]) : 10;
    pthread_t other;
    if (pthread_create(&other, 0, keep_busy, 0)) return 2;
    for (int k = 0; k < children; k++) {
        pid_t child = fork();
        if (!child) {
            alarm(60);      // a child that hangs is killed
            _exit(!(threads_of_this_process() == 1 && computes() && threads_of_this_process() == THREADS));
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status) return printf("child %d: status %d\n", k, status), 1;
    }
    done = 1;
    pthread_join(other, 0);
    printf("%d children computed, each with %d threads\n", children, THREADS);
    return 0;
}
