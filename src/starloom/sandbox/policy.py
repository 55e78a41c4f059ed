"""Which system calls a program may make. Allowed by name; what is not named here does not exist (ENOSYS).

What is covered: calls that reach other processes, namespaces, mounts, keys, tracing, sockets to anything but the run
itself, shared memory that no limit counts, and the younger parts of the kernel that most escapes were found in.
What is not covered: holes in the calls that are allowed; what files may be opened is the business of the mounts
(namespaces tier) or of Landlock.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

ALLOW = """
read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise dup dup2 pause nanosleep
getitimer alarm setitimer getpid sendfile recvfrom recvmsg recvmmsg sendmsg sendmmsg sendto shutdown getsockname
getpeername setsockopt getsockopt fork vfork execve execveat exit wait4 waitid uname fcntl flock fsync fdatasync
ftruncate getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir creat link linkat
unlink unlinkat symlink symlinkat readlink readlinkat umask gettimeofday getrlimit setrlimit getrusage sysinfo times
getuid getgid geteuid getegid getppid getpgrp getgroups getresuid getresgid getpgid getsid capget rt_sigpending
rt_sigtimedwait rt_sigsuspend sigaltstack statfs fstatfs getpriority sched_getparam sched_getscheduler
sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getaffinity sched_getattr mlock munlock
mlockall munlockall mlock2 arch_prctl gettid readahead getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
time futex futex_waitv futex_wake futex_wait futex_requeue set_thread_area get_thread_area epoll_create epoll_create1
epoll_wait epoll_ctl epoll_pwait epoll_pwait2 set_tid_address restart_syscall fadvise64 timer_create timer_settime
timer_gettime timer_getoverrun timer_delete clock_gettime clock_getres clock_nanosleep exit_group utimes get_mempolicy
mbind set_mempolicy openat newfstatat faccessat faccessat2 pselect6 ppoll set_robust_list get_robust_list splice tee
sync_file_range signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime eventfd eventfd2 fallocate accept4
accept listen bind connect dup3 pipe2 preadv pwritev preadv2 pwritev2 getcpu getrandom membarrier copy_file_range
pkey_mprotect pkey_alloc pkey_free statx rseq close_range pidfd_open ioprio_get inotify_init inotify_init1
inotify_rm_watch mseal map_shadow_stack remap_file_pages openat2 truncate inotify_add_watch setsid setpgid
chmod fchmod fchmodat fchmodat2 utime utimensat futimesat
kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
""".split()

REFUSE = """
ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd unshare setns mount umount2
pivot_root chroot mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick name_to_handle_at
open_by_handle_at bpf perf_event_open userfaultfd memfd_create memfd_secret seccomp syslog reboot swapon swapoff
sethostname setdomainname iopl ioperm init_module finit_module delete_module kexec_load kexec_file_load quotactl
quotactl_fd acct settimeofday adjtimex clock_settime clock_adjtime vhangup modify_ldt migrate_pages move_pages vmsplice
ioprio_set setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset chown fchown lchown
fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr sched_setscheduler sched_setparam
sched_setattr syncfs fanotify_init fanotify_mark lookup_dcookie
""".split()  # EPERM: programs that try see that it is forbidden, not that it is missing

PRETEND = ["sync"]  # flushes the whole host's disks

# In the Landlock tier a run is killed as one process group and reaches no other process: leaving the group is said to
# have worked and does not happen; of sockets, connected pairs are left; modes and times stay what they are, as Landlock
# does not know them and the interpreter's files may be the caller's own.
LANDLOCK_PRETEND = """
setsid setpgid chmod fchmod fchmodat fchmodat2 utime utimes utimensat futimesat
""".split()
LANDLOCK_REFUSE = "bind connect listen accept accept4 inotify_add_watch".split()

PRCTL = (  # linux/prctl.h
    *(1, 2, 3, 15, 16, 21, 23, 27),  # PDEATHSIG, GET_DUMPABLE, NAME, GET_SECCOMP, CAPBSET_READ, GET_SECUREBITS
    *(29, 30, 38, 39, 41, 42),  # TIMERSLACK, NO_NEW_PRIVS, THP_DISABLE
    0x53564D41,  # PR_SET_VMA: names for memory
)
IOCTL = (
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x540F,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # TCGETS…, FIONREAD, FIONBIO, CLOEXEC
FCNTL_REFUSED = (
    8,
    10,
    15,
    1024,
    1026,
)  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: signals to whom they name
NEW_NAMESPACES = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME


class If(NamedTuple):
    """An answer that depends on one argument: masked, then compared with values; `then` where one fits."""

    argument: int
    values: tuple[int, ...]
    then: Answer
    otherwise: Answer
    mask: int = 0xFFFFFFFF


Answer = int | If | None  # errno (0: pretend), another question, None: allowed


def answers(tier: str, abi: int, process: int | None) -> dict[str, Answer]:
    """System call → answer. `process`: signals may only go to it and to its group (Landlock before ABI 6)."""
    found: dict[str, Answer] = dict.fromkeys(ALLOW)
    found |= dict.fromkeys(REFUSE, errno.EPERM)
    found |= dict.fromkeys(PRETEND, 0)
    fifo, regular, socket_file = 0o010000, 0o100000, 0o140000
    kinds = (0, fifo, regular, socket_file)
    found |= {
        "clone": If(0, (0,), None, errno.EPERM, mask=NEW_NAMESPACES),
        "socket": If(0, (1,), None, errno.EAFNOSUPPORT),
        "socketpair": If(0, (1,), None, errno.EAFNOSUPPORT),
        "prctl": If(0, PRCTL, None, If(0, (4,), 0, errno.EPERM)),  # PR_SET_DUMPABLE: said to have worked
        "ioctl": If(1, IOCTL, None, errno.ENOTTY),
        "fcntl": If(1, FCNTL_REFUSED, errno.EPERM, None),
        "prlimit64": If(0, (0,), None, errno.EPERM),
        "sched_setaffinity": If(0, (0,), None, errno.EPERM),
        "setpriority": If(0, (0,), If(1, (0,), None, errno.EPERM), errno.EPERM),
        "personality": If(0, (0, 0xFFFFFFFF), None, errno.EPERM),
        "mknod": If(1, kinds, None, errno.EPERM, mask=0o170000),
        "mknodat": If(2, kinds, None, errno.EPERM, mask=0o170000),
    }
    if tier == "landlock":
        found |= dict.fromkeys(LANDLOCK_PRETEND, 0)
        found |= dict.fromkeys(LANDLOCK_REFUSE, errno.EPERM)
        found["socket"] = errno.EAFNOSUPPORT
        # SOCK_STREAM and SOCK_SEQPACKET (Rust starts processes with such a pair) send to their other end alone
        found["socketpair"] = If(0, (1,), If(1, (1, 5), None, errno.EAFNOSUPPORT, mask=0xF), errno.EAFNOSUPPORT)
        if abi < 3:  # Landlock before Linux 6.2 does not know truncation
            trunc_read = If(1, (0o1000,), errno.EPERM, None, mask=0o1003)
            found |= {"truncate": errno.EPERM, "openat2": errno.ENOSYS, "open": trunc_read}
            found["openat"] = If(2, (0o1000,), errno.EPERM, None, mask=0o1003)
        if abi < 6 and process is not None:  # … and before Linux 6.12 signals
            mine = If(0, (0, process), None, errno.EPERM)
            found |= dict.fromkeys(("kill", "tgkill", "rt_tgsigqueueinfo", "rt_sigqueueinfo"), mine)
            found |= dict.fromkeys(("tkill", "pidfd_send_signal"), errno.EPERM)
    return found
