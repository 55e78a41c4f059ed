# Hostile programs in Perl: the first argument names the attack (ported.py says what each is for).
use strict; use warnings; no warnings qw(once uninitialized);
use Socket; use POSIX ();
$| = 1;
my ($name, $secret, $canary) = ($ARGV[0], $ENV{BAIT_SECRET_FILE}, $ENV{BAIT_CANARY_FILE});
my $began = time; sub patience { time < $began + 20 }    # a flood that nobody stopped ends by itself
sub say_ { my ($what, $escaped) = @_; syswrite STDOUT, ($escaped ? "ESCAPED " : "refused: ") . "$what: $!\n" }
sub spill { my $path = shift; local $/; if (open my $file, '<', $path) { say_("read $path"); print <$file> } else { say_($path) } }
my $block = 'x' x (1 << 20);
my %attacks = (
  fork_bomb => sub { while (patience) { fork } },
  memory => sub { my @held; push @held, "$block$_" for 1 .. 4096; say_("gigabytes", 1) },
  output_without_end => sub { syswrite STDOUT, $block while patience },
  errors_without_end => sub { syswrite STDERR, $block while patience },
  cpu_spin => sub { $SIG{$_} = 'IGNORE' for qw(XCPU TERM INT ALRM); 1 while patience; say_("20 s of CPU", 1) },
  deaf_sleep => sub { $SIG{$_} = 'IGNORE' for qw(TERM INT HUP ALRM); sleep 20; say_("20 s asleep", 1) },
  daemon => sub { unless (fork) { POSIX::setsid(); unless (fork) { POSIX::close($_) for 0 .. 63; sleep 20 } POSIX::_exit(0) } say_("the program has ended") },
  scratch_filled => sub { my $size = 0; for (1 .. 64) { open my $f, '>', "full$_" or last; my $w = syswrite $f, $block; last unless $w == length $block; $size += $w } say_("$size bytes", $size > 40 << 20) },
  empty_files => sub { my $made = 0; for (1 .. 60000) { open my $f, '>', "e$_" or last; $made++ } say_("$made files", $made > 2048) },
  huge_file => sub { $SIG{XFSZ} = 'IGNORE'; my $size = 0; open my $f, '>', 'huge'; for (1 .. 64) { my $w = syswrite $f, $block; last unless $w; $size += $w } say_("$size bytes", $size > 4 << 20) },
  open_files => sub { my @held; while (@held < 100000) { open my $f, '<', '/dev/null' or last; push @held, $f } say_(@held . " descriptors", @held > 64) },
  reads_files => sub { spill($_) for $secret, '/etc/shadow', '/root/.ssh/id_ed25519' },
  writes_files => sub { say_("append", open my $f, '>>', $canary); say_("unlink", unlink $canary); chmod 0644, $canary },
  reads_environments => sub { for my $n (1, getppid, $ENV{BAIT_CALLER}, $ENV{BAIT_SENTINEL}) { spill("/proc/$n/$_") for qw(environ cmdline) } },
  kills_the_caller => sub { say_("signal", kill 'WINCH', $_) for $ENV{BAIT_CALLER}, $ENV{BAIT_SENTINEL} },
  calls_the_caller => sub { say_("socket", socket(my $s, PF_INET, SOCK_STREAM, 0)); say_("connect", $s && connect $s, sockaddr_in($ENV{BAIT_PORT}, INADDR_LOOPBACK)) },
  listens => sub { say_("socket", socket(my $s, PF_INET, SOCK_STREAM, 0)); say_("bind", $s && bind $s, sockaddr_in(0, INADDR_ANY)) },
  runs_unshare => sub { say_($_, system("$_ 2>/dev/null") == 0) for 'unshare -Ur true', 'mount -t tmpfs none .' },
  links_out => sub { say_("hard link", link $secret, 'hard'); symlink $secret, 'soft'; spill('soft') },
);
$attacks{$name}->();
