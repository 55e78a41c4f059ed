"""What a program leaves for `keep`: files of its scratch folder come back, and nothing that they point to."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import say


@attack(keep=("soft", "folder/*", "deep"))
def keeps_a_link_to_the_callers_file(secret_file, bait_folder):
    """A symbolic link is not followed, neither as the file, nor as a folder on the way."""
    import os

    os.symlink(secret_file, "soft")
    os.symlink(bait_folder, "folder")
    os.symlink("../" * 40 + secret_file.lstrip("/"), "deep")
    say("refused: see what comes back")


@attack(keep=("*", "**", "*/*", "~/*", "[!x]*", "$HOME/*", "{a,/etc/hostname}"), hands_back=("own",))
def keeps_by_a_pattern_that_leaves(secret_file):
    """The widest patterns give nothing outside the scratch folder."""
    with open("own", "w") as file:
        file.write("x")
    say("refused: see what comes back")


@attack(keep=("*",), wall_s=3.0)
def keeps_what_is_no_file():
    """Fifos, sockets and folders are neither opened (a fifo would block) nor handed back."""
    import os
    import socket

    os.mkfifo("fifo")
    os.mkdir("folder")
    try:
        socket.socket(socket.AF_UNIX).bind("socket")
    except OSError:
        pass
    for name in ("/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "fifo"):
        os.symlink(name, name.replace("/", "_") + "_link")
    say("refused: see what comes back")


@attack(keep=("*",), ends=("exited", "signaled"), says="refused:")
def keeps_more_than_the_quota():
    """A sparse file, hard links by the hundred to one file: what comes back is bounded by `scratch_bytes`."""
    import os
    import signal

    say("refused: see what comes back")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("big", "wb") as file:
        file.write(b"b" * (3 << 20))
    for number in range(200):
        try:
            os.link("big", f"link{number:03d}")
        except OSError:
            break


@attack(keep=("swap*",), ends=("exited", "timed_out"), says="refused:", wall_s=1.5)
def keeps_a_file_that_changes_under_the_readers_hands(secret_file):
    """A daemon swaps file and link as fast as it can while the files are collected."""
    import os

    say("refused: see what comes back")
    with open("swap", "w") as file:
        file.write("plain")
    os.symlink(secret_file, "link")
    if os.fork() == 0:
        while True:
            try:
                os.rename("swap", "plain")
                os.rename("link", "swap")
                os.rename("swap", "link")
                os.rename("plain", "swap")
            except OSError:
                pass
    os._exit(0)


@attack(keep=("*",), hands_back=("closed",))
def keeps_files_with_hostile_names():
    """Names that are no UTF-8, hold line feeds or terminal codes, or are 255 bytes long, harm nobody who reads them."""
    import os

    for name in (b"\xff\xfe\xfd", b"line\nfeed", b"\x1b]0;title\x07", b"-rf", b"x" * 255, b"..."):
        with open(name, "wb") as file:
            file.write(b"x")
    with open("closed", "wb") as file:
        file.write(b"x")
    os.chmod("closed", 0)
    say("refused: see what comes back")


@attack(keep=("main",))
def keeps_a_file_of_another_inode(secret_file, bait_folder):
    """A scratch folder replaced by a link: what is collected is still the run's own."""
    import os

    here = os.getcwd()
    try:
        os.chdir("/")
        os.rmdir(here)
        os.symlink(bait_folder, here)
        say("refused: replaced; see what comes back")
    except OSError as refusal:
        say(f"refused: {refusal}")
