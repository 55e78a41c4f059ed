// Hostile programs in Go: the first argument names the attack (ported.py says what each is for).
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var began = time.Now()
var block = make([]byte, 1<<20)

func patience() bool { return time.Since(began) < 20*time.Second } // a flood that nobody stopped ends by itself

func say(what string, escaped bool) {
	word := "refused:"
	if escaped {
		word = "ESCAPED"
	}
	os.Stdout.WriteString(fmt.Sprintf("%s %s\n", word, what))
}

func tried(what string, err error) { say(fmt.Sprintf("%s: %v", what, err), err == nil) }

func spill(path string) {
	data, err := os.ReadFile(path)
	say(fmt.Sprintf("read %s: %v", path, err), false)
	os.Stdout.Write(data)
}

func number(name string) int {
	n, _ := strconv.Atoi(os.Getenv("BAIT_" + name))
	return n
}

func main() {
	secret, canary := os.Getenv("BAIT_SECRET_FILE"), os.Getenv("BAIT_CANARY_FILE")
	switch os.Args[1] {
	case "fork_bomb":
		for patience() {
			exec.Command("/proc/self/exe", "fork_bomb").Start()
		}
	case "thread_bomb": // goroutines that block in system calls are threads
		for i := 0; i < 20000; i++ {
			go func() {
				var fds [2]int
				if syscall.Pipe(fds[:]) == nil {
					syscall.Read(fds[0], make([]byte, 1))
				} else {
					wait := syscall.Timespec{Sec: 20}
					syscall.Nanosleep(&wait, nil)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		tasks, _ := os.ReadDir("/proc/self/task")
		say(fmt.Sprintf("%d threads", len(tasks)), len(tasks) > 128)
	case "memory":
		var held [][]byte
		for i := 0; i < 4096; i++ {
			more := make([]byte, 1<<20)
			for at := 0; at < len(more); at += 4096 {
				more[at] = 1
			}
			held = append(held, more)
		}
		say(fmt.Sprintf("%d MB", len(held)), true)
	case "output_without_end":
		for patience() {
			os.Stdout.Write(block)
		}
	case "errors_without_end":
		for patience() {
			os.Stderr.Write(block)
		}
	case "cpu_spin":
		signal.Ignore(syscall.SIGXCPU, syscall.SIGTERM, syscall.SIGINT)
		for i := 0; i < 8; i++ {
			go func() {
				for patience() {
				}
			}()
		}
		for patience() {
		}
		say("20 s of CPU", true)
	case "deaf_sleep":
		signal.Ignore()
		time.Sleep(20 * time.Second)
		say("20 s asleep", true)
	case "daemon":
		one := exec.Command("sleep", "20")
		one.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		one.Start()
		say("the program has ended", false)
		syscall.Exit(0)
	case "scratch_filled":
		size := 0
		for i := 0; i < 64; i++ {
			if os.WriteFile(fmt.Sprint("full", i), block, 0o600) != nil {
				break
			}
			size += len(block)
		}
		say(fmt.Sprintf("%d bytes", size), size > 40<<20)
	case "empty_files":
		made := 0
		for made < 60000 && os.WriteFile(fmt.Sprint("e", made), nil, 0o600) == nil {
			made++
		}
		say(fmt.Sprintf("%d files", made), made > 2048)
	case "huge_file":
		signal.Ignore(syscall.SIGXFSZ)
		file, _ := os.Create("huge")
		size := 0
		for i := 0; i < 64; i++ {
			wrote, err := file.Write(block)
			size += wrote
			if err != nil {
				break
			}
		}
		say(fmt.Sprintf("%d bytes", size), size > 4<<20)
	case "open_files":
		made := 0
		for made < 100000 {
			if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
				break
			}
			made++
		}
		say(fmt.Sprintf("%d descriptors", made), made > 64)
	case "reads_files":
		for _, path := range []string{secret, "/etc/shadow", "/root/.ssh/id_ed25519"} {
			spill(path)
		}
	case "writes_files":
		_, err := os.OpenFile(canary, os.O_WRONLY|os.O_APPEND, 0)
		tried("append", err)
		tried("remove", os.Remove(canary))
		os.Chmod(canary, 0o644)
	case "reads_environments":
		for _, one := range []int{1, os.Getppid(), number("CALLER"), number("SENTINEL")} {
			spill(fmt.Sprintf("/proc/%d/environ", one))
			spill(fmt.Sprintf("/proc/%d/cmdline", one))
		}
	case "kills_the_caller":
		tried("caller", syscall.Kill(number("CALLER"), syscall.SIGWINCH))
		tried("sentinel", syscall.Kill(number("SENTINEL"), syscall.SIGWINCH))
	case "calls_the_caller":
		_, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", number("PORT")))
		tried("connect", err)
	case "listens":
		_, err := net.Listen("tcp", "127.0.0.1:0")
		tried("listen", err)
	case "runs_unshare":
		tried("unshare", syscall.Unshare(syscall.CLONE_NEWUSER))
		tried("mount", syscall.Mount("none", ".", "tmpfs", 0, ""))
		one := exec.Command("true")
		one.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		tried("clone", one.Run())
	case "links_out":
		tried("hard link", os.Link(secret, "hard"))
		os.Symlink(secret, "soft")
		spill("soft")
	default:
		os.Exit(64)
	}
}
