<?php // Hostile programs in PHP: the first argument names the attack (ported.py says what each is for).
error_reporting(0);
ini_set("memory_limit", "-1");
set_time_limit(0);
$secret = getenv("BAIT_SECRET_FILE"); $canary = getenv("BAIT_CANARY_FILE"); $block = str_repeat("x", 1 << 20);
function patience() { return microtime(true) < $_SERVER["REQUEST_TIME_FLOAT"] + 20; } // a flood that nobody stopped ends
function say($what, $escaped = false) { fwrite(STDOUT, ($escaped ? "ESCAPED " : "refused: ") . "$what\n"); }
function spill($path) { $data = file_get_contents($path); say("read $path"); fwrite(STDOUT, $data === false ? "" : $data); }
switch ($argv[1]) {
  case "fork_bomb": while (patience()) pcntl_fork(); break;
  case "memory": $held = []; for ($i = 0; $i < 4096; $i++) $held[] = $block . $i; say("gigabytes", true); break;
  case "output_without_end": while (patience()) fwrite(STDOUT, $block); break;
  case "errors_without_end": while (patience()) fwrite(STDERR, $block); break;
  case "cpu_spin": while (patience()); say("20 s of CPU", true); break;
  case "deaf_sleep": sleep(20); say("20 s asleep", true); break;
  case "daemon": exec("setsid sleep 20 >/dev/null 2>&1 &"); say("the program has ended"); break;
  case "scratch_filled":
    for ($size = 0, $i = 0; $i < 64; $i++) { $w = file_put_contents("full$i", $block); if ($w !== strlen($block)) break; $size += $w; }
    say("$size bytes", $size > 40 << 20); break;
  case "empty_files": for ($i = 0; $i < 60000; $i++) if (!touch("e$i")) break; say("$i files", $i > 2048); break;
  case "huge_file":
    $f = fopen("huge", "w"); for ($size = 0, $i = 0; $i < 64; $i++) { $w = fwrite($f, $block); if (!$w) break; $size += $w; }
    say("$size bytes", $size > 4 << 20); break;
  case "open_files": $held = []; while (count($held) < 100000 && ($f = fopen("/dev/null", "r"))) $held[] = $f; say(count($held) . " descriptors", count($held) > 64); break;
  case "reads_files": foreach ([$secret, "/etc/shadow", "/root/.ssh/id_ed25519"] as $path) spill($path); break;
  case "writes_files": say("append", fopen($canary, "a") !== false); say("unlink", unlink($canary)); chmod($canary, 0644); break;
  case "reads_environments":
    foreach ([1, posix_getppid(), getenv("BAIT_CALLER"), getenv("BAIT_SENTINEL")] as $n) foreach (["environ", "cmdline"] as $name) spill("/proc/$n/$name");
    break;
  case "kills_the_caller": foreach (["CALLER", "SENTINEL"] as $name) say($name, posix_kill((int)getenv("BAIT_$name"), 28)); break;
  case "calls_the_caller": say("connect", fsockopen("127.0.0.1", (int)getenv("BAIT_PORT"), $code, $text, 2) !== false); break;
  case "listens": say("listen", stream_socket_server("tcp://127.0.0.1:0") !== false); break;
  case "runs_unshare": foreach (["unshare -Ur true", "mount -t tmpfs none ."] as $line) { exec("$line 2>/dev/null", $out, $code); say($line, $code === 0); } break;
  case "links_out": say("hard link", link($secret, "hard")); symlink($secret, "soft"); spill("soft"); break;
  default: exit(64);
}
