/* Hostile programs in C, and in C++ by the same text: argv[1] names the attack (ported.py says what each is for). */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static time_t began;
static int patience(void) { return time(NULL) < began + 20; } /* a flood that nobody stopped ends by itself */
static void say(const char *what, const char *of, int escaped) {
  char line[512];
  int size = snprintf(line, sizeof line, "%s%s %s: %s\n", escaped ? "ESCAPED " : "refused: ", what, of, strerror(errno));
  if (write(1, line, (size_t)size) < 0) _exit(9);
}
static void spill(const char *path) {
  static char room[1 << 16];
  int file = open(path, O_RDONLY);
  ssize_t got = file < 0 ? -1 : read(file, room, sizeof room);
  say("read", path, 0);
  if (got > 0 && write(1, room, (size_t)got) < 0) _exit(9);
  if (file >= 0) close(file);
}
static void *asleep(void *nothing) { sleep(20); return nothing; }
static int is(const char *name, const char *wanted) { return strcmp(name, wanted) == 0; }

int main(int count, char **given) {
  const char *name = count > 1 ? given[1] : "";
  static char block[1 << 20];
  began = time(NULL);
  memset(block, 'x', sizeof block);
  if (is(name, "fork_bomb")) {
    while (patience()) { pid_t child = fork(); (void)child; }
  } else if (is(name, "thread_bomb")) {
    int made = 0;
    pthread_t one;
    while (made < 10000 && pthread_create(&one, NULL, asleep, NULL) == 0) made++;
    say("threads", "", made > 40);
    _exit(0);
  } else if (is(name, "memory")) {
    for (int i = 0; i < 2048; i++) {
      char *more = (char *)malloc(sizeof block);
      if (more == NULL) { say("malloc", "", 0); return 0; }
      memset(more, i, sizeof block);
    }
    say("two gigabytes", "", 1);
  } else if (is(name, "output_without_end") || is(name, "errors_without_end")) {
    while (patience()) if (write(is(name, "output_without_end") ? 1 : 2, block, sizeof block) < 0) return 1;
  } else if (is(name, "cpu_spin")) {
    for (int i = 1; i < 32; i++) signal(i, SIG_IGN);
    for (volatile unsigned long turn = 0; patience();) turn = turn + 1;
    say("20 s of CPU", "", 1);
  } else if (is(name, "deaf_sleep")) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    sleep(20);
    say("20 s asleep", "", 1);
  } else if (is(name, "daemon")) {
    if (fork() == 0) {
      setsid();
      if (fork() == 0) { for (int i = 0; i < 64; i++) close(i); while (patience()) usleep(50000); }
      _exit(0);
    }
    say("the program", "has ended", 0);
  } else if (is(name, "scratch_filled") || is(name, "huge_file")) {
    char path[64] = "huge";
    long total = 0;
    int out = -1;
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 64; i++) {
      if (out < 0 || is(name, "scratch_filled")) { snprintf(path, sizeof path, "full%d", i); out = open(path, O_CREAT | O_WRONLY, 0600); }
      ssize_t wrote = write(out, block, sizeof block);
      if (wrote < (ssize_t)sizeof block) break;
      total += wrote;
    }
    say("bytes in scratch", path, total > (is(name, "huge_file") ? 4L << 20 : 40L << 20));
  } else if (is(name, "empty_files")) {
    int made = 0;
    for (char path[32]; made < 60000; made++) {
      snprintf(path, sizeof path, "e%d", made);
      int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
      if (file < 0) break;
      close(file);
    }
    say("files", "", made > 2048);
  } else if (is(name, "open_files")) {
    int made = 0;
    while (made < 100000 && open("/dev/null", O_RDONLY) >= 0) made++;
    say("descriptors", "", made > 64);
  } else if (is(name, "reads_files")) {
    spill(getenv("BAIT_SECRET_FILE"));
    spill("/etc/shadow");
    spill("/root/.ssh/id_ed25519");
  } else if (is(name, "writes_files")) {
    errno = 0;
    int file = open(getenv("BAIT_CANARY_FILE"), O_WRONLY);
    say("open for writing", "", file >= 0);
    say("unlink", "", unlink(getenv("BAIT_CANARY_FILE")) == 0);
    say("chmod", "see the canary", chmod(getenv("BAIT_CANARY_FILE"), 0644) == 2);
  } else if (is(name, "reads_environments")) {
    char path[64];
    int numbers[] = {1, getppid(), atoi(getenv("BAIT_CALLER")), atoi(getenv("BAIT_SENTINEL"))};
    for (int i = 0; i < 4; i++) {
      snprintf(path, sizeof path, "/proc/%d/environ", numbers[i]);
      spill(path);
      snprintf(path, sizeof path, "/proc/%d/cmdline", numbers[i]);
      spill(path);
    }
  } else if (is(name, "kills_the_caller")) {
    say("signal", "caller", kill(atoi(getenv("BAIT_CALLER")), SIGWINCH) == 0);
    say("signal", "sentinel", kill(atoi(getenv("BAIT_SENTINEL")), SIGWINCH) == 0);
  } else if (is(name, "calls_the_caller") || is(name, "listens")) {
    struct sockaddr_in where;
    memset(&where, 0, sizeof where);
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = is(name, "listens") ? 0 : htons((unsigned short)atoi(getenv("BAIT_PORT")));
    int talk = socket(AF_INET, SOCK_STREAM, 0);
    say("socket", "inet", talk >= 0);
    if (is(name, "listens")) say("bind", "", bind(talk, (struct sockaddr *)&where, sizeof where) == 0);
    else say("connect", "", connect(talk, (struct sockaddr *)&where, sizeof where) == 0);
  } else if (is(name, "runs_unshare")) {
    int how = system("unshare -Ur true 2>/dev/null || mount -t tmpfs none . 2>/dev/null");
    say("unshare or mount", "", how == 0);
  } else if (is(name, "links_out")) {
    say("hard link", "", link(getenv("BAIT_SECRET_FILE"), "hard") == 0);
    if (symlink(getenv("BAIT_SECRET_FILE"), "soft") == 0) spill("soft");
  } else return 64;
  return 0;
}
