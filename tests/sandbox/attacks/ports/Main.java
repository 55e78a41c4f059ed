// Hostile programs in Java: the first argument names the attack (ported.py says what each is for).
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.util.*;

public class Main {
  static final long BEGAN = System.nanoTime();
  static final byte[] BLOCK = new byte[1 << 20];

  static boolean patience() { return System.nanoTime() < BEGAN + 20_000_000_000L; } // a flood that nobody stopped ends

  static void say(String what, boolean escaped) {
    System.out.print((escaped ? "ESCAPED " : "refused: ") + what + "\n");
    System.out.flush();
  }

  interface Body { void run() throws Exception; }

  static void tried(String what, Body body) {
    try { body.run(); say(what, true); } catch (Exception | Error refusal) { say(what + ": " + refusal, false); }
  }

  static void spill(String path) throws IOException {
    try {
      byte[] data = Files.readAllBytes(Path.of(path));
      say("read " + path, false);
      System.out.write(data);
      System.out.flush();
    } catch (IOException refusal) { say(path + ": " + refusal, false); }
  }

  static void sleep(long ms) { try { Thread.sleep(ms); } catch (InterruptedException e) { sleep(ms); } }

  static String env(String name) { return System.getenv("BAIT_" + name); }

  public static void main(String[] given) throws Exception {
    String binary = ProcessHandle.current().info().command().orElse("java");
    switch (given[0]) {
      case "fork_bomb":
        while (patience()) {
          try { new ProcessBuilder(binary, "-Xmx16m", "-cp", ".", "Main", "fork_bomb").start(); } catch (IOException e) { }
        }
        break;
      case "thread_bomb":
        int threads = 0;
        try {
          for (; threads < 5000; threads++) { Thread one = new Thread(() -> sleep(20000)); one.setDaemon(true); one.start(); }
        } catch (Error refusal) { say("" + refusal, false); }
        say(threads + " threads", threads > 128);
        Runtime.getRuntime().halt(0);
        break;
      case "memory":
        List<Object> held = new ArrayList<>();
        for (int i = 0; i < 4096; i++) { java.nio.ByteBuffer more = java.nio.ByteBuffer.allocateDirect(1 << 20); held.add(more); held.add(new byte[1 << 20]); }
        say("gigabytes", true);
        break;
      case "output_without_end":
        while (patience()) System.out.write(BLOCK);
        break;
      case "errors_without_end":
        while (patience()) System.err.write(BLOCK);
        break;
      case "cpu_spin":
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { while (patience()) { } }));
        for (int i = 0; i < 3; i++) new Thread(() -> { while (patience()) { } }).start();
        while (patience()) { }
        say("20 s of CPU", true);
        break;
      case "deaf_sleep":
        Runtime.getRuntime().addShutdownHook(new Thread(() -> sleep(20000)));
        sleep(20000);
        say("20 s asleep", true);
        break;
      case "daemon":
        new ProcessBuilder("sh", "-c", "setsid sleep 20 >/dev/null 2>&1 & (setsid sh -c 'sleep 20' &)").start();
        sleep(100);
        say("the program has ended", false);
        Runtime.getRuntime().halt(0);
        break;
      case "scratch_filled":
        long size = 0;
        try { for (int i = 0; i < 64; i++) { Files.write(Path.of("full" + i), BLOCK); size += BLOCK.length; } } catch (IOException e) { say("" + e, false); }
        say(size + " bytes", size > 40 << 20);
        break;
      case "empty_files":
        int made = 0;
        try { for (; made < 60000; made++) Files.createFile(Path.of("e" + made)); } catch (IOException e) { say("" + e, false); }
        say(made + " files", made > 2048);
        break;
      case "huge_file":
        long wrote = 0;
        try (OutputStream out = new FileOutputStream("huge")) { for (int i = 0; i < 64; i++) { out.write(BLOCK); wrote += BLOCK.length; } } catch (IOException e) { say("" + e, false); }
        say(wrote + " bytes", wrote > 4 << 20);
        break;
      case "open_files":
        List<InputStream> open = new ArrayList<>();
        try { while (open.size() < 100000) open.add(new FileInputStream("/dev/null")); } catch (IOException e) { }
        int count = open.size();
        for (InputStream one : open) one.close();
        say(count + " descriptors", count > 64);
        break;
      case "reads_files":
        for (String path : List.of(env("SECRET_FILE"), "/etc/shadow", "/root/.ssh/id_ed25519")) spill(path);
        break;
      case "writes_files":
        Path canary = Path.of(env("CANARY_FILE"));
        tried("append", () -> Files.write(canary, new byte[0], StandardOpenOption.APPEND));
        tried("delete", () -> Files.delete(canary));
        try { Files.setPosixFilePermissions(canary, PosixFilePermissions.fromString("rw-r--r--")); } catch (IOException e) { say("" + e, false); }
        break;
      case "reads_environments":
        long parent = ProcessHandle.current().parent().map(ProcessHandle::pid).orElse(1L);
        for (Object number : List.of(1, parent, env("CALLER"), env("SENTINEL")))
          for (String name : List.of("environ", "cmdline")) spill("/proc/" + number + "/" + name);
        break;
      case "kills_the_caller":
        for (String name : List.of("CALLER", "SENTINEL")) {
          int code = new ProcessBuilder("sh", "-c", "kill -WINCH " + env(name)).start().waitFor();
          say("signal " + name, code == 0);
        }
        break;
      case "calls_the_caller":
        tried("connect", () -> new Socket("127.0.0.1", Integer.parseInt(env("PORT"))).close());
        break;
      case "listens":
        tried("listen", () -> new ServerSocket(0).close());
        break;
      case "runs_unshare":
        for (String line : List.of("unshare -Ur true", "mount -t tmpfs none .")) {
          int code = new ProcessBuilder("sh", "-c", line + " 2>/dev/null").start().waitFor();
          say(line, code == 0);
        }
        break;
      case "links_out":
        Path secret = Path.of(env("SECRET_FILE"));
        tried("hard link", () -> Files.createLink(Path.of("hard"), secret));
        Files.createSymbolicLink(Path.of("soft"), secret);
        spill("soft");
        break;
      default:
        System.exit(64);
    }
  }
}
