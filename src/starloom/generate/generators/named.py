"""What is spelled on a command line, and the generator that it stands for.

    starloom-store/models/quickstart          a folder, by the local engine
    me/santacoder@no-fim                      a revision of a published model, in the hub folder
    openai:http://localhost:8000#MODEL        a server; further settings behind commas: #MODEL,infill=starcoder2,key=API_KEY
    http://localhost:8000#MODEL               the same
    file:completions.jsonl                    a file of completions
    vllm:FOLDER                               a folder, by vLLM
    package.module:name                       outside code: called with the options, it gives a Generator

`key=` takes the name of an environment variable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from starloom.errors import ConfigError, suggestion
from starloom.generate.protocol import Generator
from starloom.registry import resolve

KINDS = ("openai", "file", "vllm")
_SETTINGS = {"key": str, "infill": str, "at_once": int}


def open_generator(name: str, **options: Any) -> Generator:
    """The generator of a name. Raises ConfigError for a name that is none, and what opening it raises."""
    kind, colon, rest = name.partition(":")
    if kind in ("http", "https"):
        return open_generator("openai:" + name, **options)
    if kind == "openai" and colon:
        from starloom.generate.generators.endpoint import open_endpoint

        url, mark, behind = rest.partition("#")
        model, *pairs = behind.split(",")
        if not mark or not model:
            raise ConfigError(f"'{name}' names no model; write openai:http://HOST:PORT#MODEL")
        return open_endpoint(url, model, **{**_settings(pairs), **options})
    if kind == "file" and colon:
        from starloom.generate.generators.completions_file import CompletionsFile

        return CompletionsFile(Path(rest), **options)
    if kind == "vllm" and colon:
        from starloom.generate.generators.vllm import open_vllm

        return open_vllm(rest, **options)
    if colon and not Path(name).exists() and "/" not in kind:
        if "." not in kind:
            raise ConfigError(f"no kind of generator is called '{kind}'; {suggestion(kind, KINDS)}")
        return cast(Generator, cast(Any, resolve(name, "generator"))(**options))
    from starloom.generate.session import load

    return load(name, **options)


def _settings(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in _SETTINGS or not equals or not text:
            raise ConfigError(
                f"'{pair}' is no setting of an endpoint; known: {', '.join(_SETTINGS)}, such as infill=suffix"
            )
        try:
            found[name] = _SETTINGS[name](text)
        except ValueError:
            raise ConfigError(f"{name} takes a whole number, not '{text}'") from None
    return found
