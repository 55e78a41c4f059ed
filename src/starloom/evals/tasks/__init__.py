"""The benchmarks as tasks: how each is asked, where its answers end, and who judges them."""

from starloom.evals.tasks.task import AS_GIVEN, Form, Published, Task

__all__ = ["AS_GIVEN", "Form", "Published", "Task"]
