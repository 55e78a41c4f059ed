"""starloom: from repositories to a StarCoder of your own, with every token traceable to its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starloom.generate.protocol import Generator
    from starloom.generate.session import Session

__version__ = "0.1.0"
__all__ = ["__version__", "generator", "load"]


def load(path: str, **options: Any) -> Session:
    """Open a trained model folder for completion and infilling; see `starloom.generate.session.load`."""
    from starloom.generate.session import load as open_session

    return open_session(path, **options)


def generator(name: str, **options: Any) -> Generator:
    """Open anything that completes text by its name: a folder, `openai:URL#MODEL`, `file:PATH`, `vllm:FOLDER`; see
    `starloom.generate.generators.named`."""
    from starloom.generate.generators.named import open_generator

    return open_generator(name, **options)
