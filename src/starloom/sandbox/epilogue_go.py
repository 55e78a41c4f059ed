"""Go: program and tests with a main function of ours, and testify built once.

The file with the token is the first of the package, so that its variables are initialised before the program's; their
names are chosen when the program is known. Not covered: a program that searches its memory, or the symbol table.
"""

from __future__ import annotations

import re
from typing import Final

from starloom.sandbox.epilogue import Woven, fresh_name
from starloom.sandbox.languages import Toolchain
from starloom.sandbox.programs import Command

# What Go's standard library is asked for by HumanEval's solutions; a completion that goes on after the prompt's imports
# cannot add one, so that they are added for it (as OctoPack's harness does), and those that are not used are taken out.
KNOWN: Final = (
    "bytes", "container/heap", "crypto/md5", "errors", "fmt", "math", "math/bits", "math/rand", "os", "regexp", "sort",
    "strconv", "strings", "time", "unicode", "unicode/utf8",
)  # fmt: skip
TESTIFY: Final = (
    "github.com/davecgh/go-spew/spew",
    "github.com/pmezard/go-difflib/difflib",
    "gopkg.in/yaml.v3",
    "github.com/stretchr/testify/assert",
)
_IMPORTS = re.compile(r'(?m)^import[ \t]*(?:\(([^)]*)\)|((?:[\w.]+[ \t]+)?"[^"\n]+"))[ \t]*;?')
_SPEC = re.compile(r'(?:([\w.]+)[ \t]+)?"([^"\n]+)"')

_MAIN = """package main

import {calls} "syscall"
{extra}
var {given} = func() []byte {{
	var all []byte
	piece := make([]byte, 4096)
	for {{
		count, err := {calls}.Read(0, piece)
		if count <= 0 || err != nil {{
			break
		}}
		all = append(all, piece[:count]...)
	}}
	{calls}.Close(0)
	{calls}.Open("/dev/null", 0, 0)
	return all
}}()
var {first} = {calls}.Getpid()

var {checks} int

func {say}() {{
	if {calls}.Getpid() == {first} {{
		half := len({given}) / 2
		said := append([]byte("\\n"), {given}[half:]...)
		said = append(append(said, {given}[:half]...), ' ')
		if {checks} >= 10 {{
			said = append(said, byte('0'+{checks}/10%10))
		}}
		said = append(said, byte('0'+{checks}%10), '\\n')
		{calls}.Write(1, said)
	}}
}}

func main() {{
{body}}}
"""
# The ending is the last of the tests, so that it comes when `testing` has run the others one after the other.
_TEST = '\t\t{{Name: "{name}", F: func(t *{testing}.T) {{ {name}(t); if !t.Failed() && !t.Skipped() {{ {checks}++ }} }}}},\n'
_ENDING = (
    '\t\t{{Name: "ending", F: func(t *{testing}.T) {{ if {checks} == {count} {{ {say}() }} else {{ t.Fail() }} }}}},\n'
)
_TESTS = """	{testing}.Main(func(string, string) (bool, error) {{ return true, nil }}, []{testing}.InternalTest{{
{tests}	}}, nil, nil)
"""


def woven(found: Toolchain, program: str, tests: str) -> Woven:
    """Tests are either `func TestX(t *testing.T)` with a package clause of their own, or a `func main` that panics."""
    names = re.findall(r"(?m)^func (Test\w*)\(\w+ \*testing\.T\)", tests)
    fresh = {kind: fresh_name(kind) for kind in ("calls", "testing", "given", "first", "checks", "say")}
    if names:
        listed = "".join(_TEST.format(name=name, **fresh) for name in names)
        body = _TESTS.format(tests=listed + _ENDING.format(count=len(names), **fresh), **fresh)
        extra = f'import {fresh["testing"]} "testing"\n'
    else:
        main = fresh_name("main")
        tests = re.sub(r"(?m)^func main\(\)", f"func {main}()", tests)
        body, extra = f"\t{main}()\n\t{fresh['checks']}++\n\t{fresh['say']}()\n", ""
    text = _MAIN.format(body=body, extra=extra, **fresh)
    apart = re.search(r"(?m)^package \w+", tests) is not None
    files = {"a.go": text, "program.go": imported(program, "" if apart else tests) + ("" if apart else f"\n{tests}")}
    if apart:
        files["tests.go"] = imported(tests, "")
    sources = " ".join(sorted(files))
    script = f'"$0" tool compile -p main -I pkg -o main.o {sources} && "$0" tool link -L pkg -s -o main main.o'
    if not precompiled(found):
        script = f'"$0" build -o main {sources}'
    return Woven(
        {name: content.encode() for name, content in files.items()},
        ("./main",),
        ("/bin/sh", "-c", script, "@go"),
        ("main",),
        ("testify",) if "stretchr/testify" in tests and precompiled(found) else (),
    )


def precompiled(found: Toolchain) -> bool:
    """Whether this Go comes with its library compiled (until 1.19), so that one package is compiled instead of all."""
    return any((found.programs["go"].parent.parent / "pkg").glob("linux_*/fmt.a"))


def imported(program: str, tests: str) -> str:
    """A program with a package clause and exactly the imports that it, and tests in the same file, use."""
    program = re.sub(r"(?m)^package \w+[ \t]*;?", "", program, count=1)
    specs: dict[str, str] = {}
    for block, single in _IMPORTS.findall(program):
        specs |= {path: name for name, path in _SPEC.findall(block or single)}
    rest = _IMPORTS.sub("", program)
    used = f"{rest}\n{tests}"
    for path in KNOWN:
        if path not in specs and _mentions(used, path.rpartition("/")[2]):
            specs[path] = ""
    kept = {
        path: name
        for path, name in specs.items()
        if name in ("_", ".") or _mentions(used, name or re.sub(r"/v\d+$", "", path).rpartition("/")[2])
    }
    lines = "".join(f'\t{name} "{path}"\n' for path, name in sorted(kept.items()))
    return f"package main\n\nimport (\n{lines})\n{rest}" if lines else f"package main\n\n{rest}"


def _mentions(text: str, package: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(package)}\.\w", text) is not None


def testify(found: Toolchain) -> Command:
    """Compiles testify and what it needs from Debian's sources into archives."""
    entry = found.language
    script = f'mkdir -p gp && ln -s /usr/share/gocode/src gp/src && "$0" install {" ".join(TESTIFY)} && mv gp/pkg/linux_* pkg'
    env = {name: value for name, value in entry.env.items() if name != "CGO_ENABLED"}  # as the library was compiled
    return Command(
        ("/bin/sh", "-c", f"export GOPATH=$PWD/gp GOCACHE=$PWD/cache; {script}", str(found.programs["go"])),
        env=env, limits=entry.compile_limits, keep=tuple(f"pkg/{package}.a" for package in TESTIFY),
    )  # fmt: skip
