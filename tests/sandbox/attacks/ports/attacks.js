// Hostile programs in JavaScript: the first argument names the attack (ported.py says what each is for).
"use strict";
const fs = require("fs"), child_process = require("child_process"), net = require("net"), threads = require("worker_threads");
const began = Date.now(), patience = () => Date.now() < began + 20000; // a flood that nobody stopped ends by itself
const env = process.env;
const say = (what, escaped = false) => fs.writeSync(1, `${escaped ? "ESCAPED" : "refused:"} ${what}\n`);
const tried = (what, body) => {
  try { body(); say(what, true); } catch (error) { say(`${what}: ${error.code || error.message}`); }
};
const spill = (path) => {
  try { say(`read ${path}`); fs.writeSync(1, fs.readFileSync(path)); } catch (error) { say(`${path}: ${error.code}`); }
};
const block = Buffer.alloc(1 << 20, "x");
const spin = () => { while (patience()) {} };
const asleep = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20000);
const attacks = {
  fork_bomb() {
    while (patience()) {
      try { child_process.spawn(process.execPath, [__filename, "fork_bomb"], { detached: true, stdio: "ignore" }); } catch { }
    }
  },
  thread_bomb() {
    let made = 0;
    process.on("uncaughtException", (error) => { say(`threads: ${error.code}`); process.exit(0); });
    const more = () => {
      if (made++ > 500) { say("500 workers", true); process.exit(0); }
      const one = new threads.Worker("setTimeout(() => {}, 20000)", { eval: true });
      one.on("error", (error) => { say(`worker ${made}: ${error.code}`); process.exit(0); });
      one.on("online", more);
    };
    more();
  },
  memory() {
    const held = [];
    for (let i = 0; i < 4096; i++) held.push(Buffer.alloc(1 << 20, i));
    say("four gigabytes", true);
  },
  output_without_end() { while (patience()) fs.writeSync(1, block); },
  errors_without_end() { while (patience()) fs.writeSync(2, block); },
  cpu_spin() { for (const one of ["SIGXCPU", "SIGTERM", "SIGINT"]) process.on(one, () => { }); spin(); say("20 s of CPU", true); },
  deaf_sleep() { for (const one of ["SIGTERM", "SIGINT", "SIGHUP", "SIGALRM"]) process.on(one, () => { }); asleep(); say("20 s asleep", true); },
  daemon() {
    child_process.spawn(process.execPath, ["-e", "setTimeout(() => {}, 20000)"], { detached: true, stdio: "ignore" }).unref();
    say("the program has ended");
    process.exit(0);
  },
  scratch_filled() {
    let size = 0;
    try { for (let i = 0; i < 64; i++) { fs.writeFileSync(`full${i}`, block); size += block.length; } } catch (error) { say(error.code); }
    say(`${size} bytes`, size > 40 << 20);
  },
  empty_files() {
    let made = 0;
    try { for (; made < 60000; made++) fs.writeFileSync(`e${made}`, ""); } catch (error) { say(error.code); }
    say(`${made} files`, made > 2048);
  },
  huge_file() {
    let size = 0;
    process.on("SIGXFSZ", () => { });
    const file = fs.openSync("huge", "w");
    try { for (let i = 0; i < 64; i++) size += fs.writeSync(file, block); } catch (error) { say(error.code); }
    say(`${size} bytes`, size > 4 << 20);
  },
  open_files() {
    let made = 0;
    try { for (; made < 100000; made++) fs.openSync("/dev/null"); } catch (error) { say(error.code); }
    say(`${made} descriptors`, made > 64);
  },
  reads_files() { for (const path of [env.BAIT_SECRET_FILE, "/etc/shadow", "/root/.ssh/id_ed25519"]) spill(path); },
  writes_files() {
    tried("append", () => fs.appendFileSync(env.BAIT_CANARY_FILE, ""));
    tried("unlink", () => fs.unlinkSync(env.BAIT_CANARY_FILE));
    try { fs.chmodSync(env.BAIT_CANARY_FILE, 0o644); } catch (error) { say(error.code); }
  },
  reads_environments() {
    for (const number of [1, process.ppid, env.BAIT_CALLER, env.BAIT_SENTINEL])
      for (const name of ["environ", "cmdline"]) spill(`/proc/${number}/${name}`);
  },
  kills_the_caller() { for (const number of [env.BAIT_CALLER, env.BAIT_SENTINEL]) tried("signal", () => process.kill(Number(number), "SIGWINCH")); },
  calls_the_caller() {
    const talk = net.connect(Number(env.BAIT_PORT), "127.0.0.1");
    talk.on("connect", () => { say("connected", true); process.exit(0); });
    talk.on("error", (error) => { say(error.code); process.exit(0); });
  },
  listens() {
    const server = net.createServer();
    server.on("error", (error) => { say(error.code); process.exit(0); });
    server.listen(0, "127.0.0.1", () => { say("listening", true); process.exit(0); });
  },
  runs_unshare() {
    for (const [program, given] of [["unshare", ["-Ur", "true"]], ["mount", ["-t", "tmpfs", "none", "."]]]) {
      const done = child_process.spawnSync(program, given);
      say(`${program} ${done.status}`, done.status === 0);
    }
  },
  links_out() {
    tried("hard link", () => fs.linkSync(env.BAIT_SECRET_FILE, "hard"));
    fs.symlinkSync(env.BAIT_SECRET_FILE, "soft");
    spill("soft");
  },
};
attacks[process.argv[2]]();
