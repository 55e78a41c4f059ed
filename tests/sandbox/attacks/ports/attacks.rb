# Hostile programs in Ruby: the first argument names the attack (ported.py says what each is for).
require "socket"
$stdout.sync = true
BEGAN = Time.now
BLOCK = "x" * (1 << 20)
SECRET, CANARY = ENV["BAIT_SECRET_FILE"], ENV["BAIT_CANARY_FILE"]
NUMBERS = [ENV["BAIT_CALLER"].to_i, ENV["BAIT_SENTINEL"].to_i]
def patience = Time.now < BEGAN + 20 # a flood that nobody stopped ends by itself
def say(what, escaped = false) = $stdout.syswrite("#{escaped ? 'ESCAPED' : 'refused:'} #{what}\n")
def tried(what)
  yield
  say(what, true)
rescue SystemCallError, IOError, SocketError => e
  say("#{what}: #{e.class}")
end
def spill(path)
  data = File.binread(path)
  say("read #{path}")
  $stdout.write(data)
rescue SystemCallError => e
  say("#{path}: #{e.class}")
end
case ARGV[0]
when "fork_bomb"
  while patience
    begin
      fork
    rescue SystemCallError, NoMemoryError
    end
  end
when "thread_bomb"
  made = 0
  begin
    10_000.times { Thread.new { sleep 20 }; made += 1 }
  rescue ThreadError => e
    say(e.message)
  end
  say("#{made} threads", made > 40)
  exit!(0)
when "memory"
  held = []
  begin
    4096.times { |n| held << BLOCK + n.to_s }
    say("gigabytes", true)
  rescue NoMemoryError
    exit!(0)
  end
when "output_without_end" then $stdout.syswrite(BLOCK) while patience
when "errors_without_end" then $stderr.syswrite(BLOCK) while patience
when "cpu_spin"
  %w[XCPU TERM INT ALRM].each { |name| trap(name, "IGNORE") }
  nil while patience
  say("20 s of CPU", true)
when "deaf_sleep"
  %w[TERM INT HUP ALRM].each { |name| trap(name, "IGNORE") }
  sleep 20
  say("20 s asleep", true)
when "daemon"
  fork { Process.daemon(true, false); sleep 20 }
  sleep 0.1
  say("the program has ended")
when "scratch_filled"
  size = 0
  begin
    64.times { |n| size += File.binwrite("full#{n}", BLOCK) }
  rescue SystemCallError => e
    say(e.class)
  end
  say("#{size} bytes", size > 40 << 20)
when "empty_files"
  made = 0
  begin
    60_000.times { |n| File.write("e#{n}", ""); made += 1 }
  rescue SystemCallError => e
    say(e.class)
  end
  say("#{made} files", made > 2048)
when "huge_file"
  trap("XFSZ", "IGNORE")
  size = 0
  begin
    File.open("huge", "wb") { |file| 64.times { size += file.syswrite(BLOCK) } }
  rescue SystemCallError => e
    say(e.class)
  end
  say("#{size} bytes", size > 4 << 20)
when "open_files"
  held = []
  begin
    100_000.times { held << File.open("/dev/null") }
  rescue SystemCallError => e
    say(e.class)
  end
  say("#{held.size} descriptors", held.size > 64)
when "reads_files" then [SECRET, "/etc/shadow", "/root/.ssh/id_ed25519"].each { |path| spill(path) }
when "writes_files"
  tried("append") { File.open(CANARY, "a").close }
  tried("unlink") { File.unlink(CANARY) }
  begin
    File.chmod(0o644, CANARY)
  rescue SystemCallError
  end
when "reads_environments" then [1, Process.ppid, *NUMBERS].each { |n| %w[environ cmdline].each { |name| spill("/proc/#{n}/#{name}") } }
when "kills_the_caller" then NUMBERS.each { |n| tried("signal") { Process.kill("WINCH", n) } }
when "calls_the_caller" then tried("connect") { TCPSocket.new("127.0.0.1", ENV["BAIT_PORT"].to_i) }
when "listens" then tried("listen") { TCPServer.new("127.0.0.1", 0) }
when "runs_unshare" then ["unshare -Ur true", "mount -t tmpfs none ."].each { |line| say(line, system("#{line} 2>/dev/null")) }
when "links_out"
  tried("hard link") { File.link(SECRET, "hard") }
  File.symlink(SECRET, "soft")
  spill("soft")
else exit 64
end
