/* Linked into programs of C, C++ and D with --wrap of their main function: takes the token before any constructor runs,
 * says it when main has returned 0 in the process that started. System calls are made directly, because a program may
 * define read and write. Not covered: a program that searches its own memory, or that jumps into __wrap_main. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static char given[256];
static long length, first;

static long call(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
    return syscall(number, a, b, c);
#endif
}

static void take(void) {
    long count;
    first = call(SYS_getpid, 0, 0, 0);
    while (length < (long)sizeof given && (count = call(SYS_read, 0, (long)(given + length), (long)sizeof given - length)) > 0)
        length += count;
    call(SYS_close, 0, 0, 0);
    call(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDONLY);
}

__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = take;

int __real_main(int, char **, char **);

int __wrap_main(int count, char **arguments, char **environment) {
    int code = __real_main(count, arguments, environment);
    fflush(NULL);
    if (code == 0 && call(SYS_getpid, 0, 0, 0) == first) {
        call(SYS_write, 1, (long)"\n", 1);
        call(SYS_write, 1, (long)(given + length / 2), length - length / 2);
        call(SYS_write, 1, (long)given, length / 2);
        call(SYS_write, 1, (long)" -\n", 3);
    }
    return code;
}
