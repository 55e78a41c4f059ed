"""The Open LLM Leaderboard's seven tasks, by lm-evaluation-harness on local files against our own engine."""

from starloom.evals.leaderboard.board import leaderboard_tasks
from starloom.evals.leaderboard.stage import Leaderboard

__all__ = ["Leaderboard", "leaderboard_tasks"]
