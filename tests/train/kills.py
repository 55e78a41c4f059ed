"""Builds a run over and over and kills it at random moments, until it has been killed so many times and then ends.

`python kills.py STORE KILLS SEED STEPS`: prints how often it was killed and how many of the kills met an unfinished save.
Imports happen once: each life is a fork of this process, which has no threads.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import small_stages as small
import torch
import torch.distributed.checkpoint.hf_storage
import torch.distributed.checkpoint.state_dict_loader

from starloom.train import Steps


def main(store: Path, kills: int, seed: int, steps: int) -> None:
    """Live and die."""
    torch.set_num_threads(1)
    chance = random.Random(seed)
    killed = in_a_save = 0
    while True:
        child = os.fork()
        if child == 0:
            small.built(store, small.pretrain(budget=Steps(steps)), save_every_s=0.0)
            os._exit(0)
        if killed < kills:
            newest = max((path.name for path in store.glob("pretrain-*/.units/resume-*")), default="")
            while newest == max((path.name for path in store.glob("pretrain-*/.units/resume-*")), default=""):
                if os.waitpid(child, os.WNOHANG) != (0, 0):  # it ended of itself
                    raise SystemExit(f"the run ended after {killed} kills; give it more steps than {steps}")
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)  # some saves and steps long
            os.kill(child, signal.SIGKILL)
            killed += 1
        _, status = os.waitpid(child, 0)
        in_a_save += any(store.glob("pretrain-*/.tmp/*"))
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a life ended with an error"
            print(killed, in_a_save)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
