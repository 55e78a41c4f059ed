"""Runs what models write: limits on time, memory and output, nothing of the caller's to be seen, nothing left behind.

docs/sandbox.md says what is covered and what is not covered.
"""

from starloom.sandbox.conversation import Conversation
from starloom.sandbox.layers import Layers
from starloom.sandbox.programs import Command, Limits, Outcome, Python
from starloom.sandbox.sandbox import Sandbox, layers

__all__ = ["Command", "Conversation", "Layers", "Limits", "Outcome", "Python", "Sandbox", "layers"]
