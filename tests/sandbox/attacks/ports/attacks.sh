# Hostile programs in Bash: the first argument names the attack (ported.py says what each is for).
say() { echo "refused: $*"; }
escaped() { echo "ESCAPED $*"; }
tried() { if "$@" 2>/dev/null; then escaped "$*"; else say "$*"; fi; }
spill() { say "read $1"; cat -- "$1" 2>&1; }
patience() { ((SECONDS < 20)); } # a flood that nobody stopped ends by itself
fork_bomb() { while patience; do fork_bomb & fork_bomb & done 2>/dev/null; }
case $1 in
fork_bomb) fork_bomb ;;
memory)
  held=x
  for _ in {1..33}; do held=$held$held; done
  escaped "${#held} bytes" ;;
output_without_end) while patience; do printf '%065536d' 0; done ;;
errors_without_end) while patience; do printf '%065536d' 0 >&2; done ;;
cpu_spin)
  trap '' TERM INT HUP XCPU ALRM
  while patience; do :; done
  escaped "20 s of CPU" ;;
deaf_sleep)
  trap '' TERM INT HUP ALRM USR1
  trap 'sleep 20' EXIT
  sleep 20
  escaped "20 s asleep" ;;
daemon)
  (setsid sh -c 'exec >/dev/null 2>&1; sleep 20' &) &
  disown -a
  sleep 0.1
  say "the program has ended" ;;
scratch_filled)
  for n in {1..40}; do head -c 1000000 /dev/zero >"full$n" || break; done 2>/dev/null
  size=$(cat full* | wc -c)
  ((size > 40 << 20)) && escaped "$size bytes"
  say "$size bytes" ;;
empty_files)
  for n in {1..4000}; do : >"e$n" || break; done 2>/dev/null
  set -- e*
  (($# > 2048)) && escaped "$# files"
  say "$# files" ;;
huge_file)
  trap '' XFSZ
  head -c 60000000 /dev/zero >huge 2>/dev/null
  size=$(wc -c <huge)
  ((size > 4 << 20)) && escaped "$size bytes"
  say "$size bytes" ;;
open_files)
  for n in {10..2000}; do eval "exec $n</dev/null" || break; done 2>/dev/null
  ((n > 64)) && escaped "$n descriptors"
  say "$n descriptors" ;;
reads_files) for path in "$BAIT_SECRET_FILE" /etc/shadow /root/.ssh/id_ed25519 "/proc/self/root$BAIT_SECRET_FILE"; do spill "$path"; done ;;
writes_files)
  tried eval ": >>$BAIT_CANARY_FILE"
  tried rm -- "$BAIT_CANARY_FILE"
  chmod 644 "$BAIT_CANARY_FILE" 2>&1 ;;
reads_environments) for n in 1 $PPID $BAIT_CALLER $BAIT_SENTINEL; do spill "/proc/$n/environ"; spill "/proc/$n/cmdline"; done ;;
kills_the_caller) for n in $BAIT_CALLER $BAIT_SENTINEL; do tried kill -WINCH "$n"; done ;;
calls_the_caller)
  tried eval 'exec 9<>/dev/tcp/127.0.0.1/$BAIT_PORT'
  tried eval 'echo hello >/dev/udp/127.0.0.1/$BAIT_PORT' ;;
runs_unshare)
  tried unshare -Ur true
  tried mount -t tmpfs none .
  tried chroot . true ;;
links_out)
  tried ln "$BAIT_SECRET_FILE" hard
  ln -s "$BAIT_SECRET_FILE" soft
  spill soft ;;
*) exit 64 ;;
esac
exit 0
