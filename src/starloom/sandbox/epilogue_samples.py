"""A right program and its tests in each language: what tells a broken toolchain from a broken program.

The function adds one; `wrong` is the same program adding two, which has to fail.
"""

from __future__ import annotations

from typing import Final

SAMPLES: Final[dict[str, tuple[str, str]]] = {
    "Python": ("def f(x): return x + 1\n", "assert f(1) == 2\n"),
    "JavaScript": ("const f = (x) => { return x + 1 }\n", "console.assert(f(1) === 2)\n"),
    "TypeScript": (
        "const f = function (x: number): number { return x + 1 }\n",
        "import * as assert from 'assert'\nassert.deepEqual(f(1), 2)\n",
    ),
    "Java": (
        "class Solution { int f(int x) { return x + 1; } }\n",
        "public class Main { public static void main(String[] a) { assert new Solution().f(1) == 2; } }\n",
    ),
    "Kotlin": ("fun f(x: Int): Int { return x + 1 }\n", 'fun main() { if (f(1) != 2) { throw Exception("no") } }\n'),
    "Scala": ("object Main extends App {\ndef f(x: Int): Int = { x + 1 }\n", "assert(f(1) == 2)\n}\n"),
    "C": ("int f(int x) { return x + 1; }\n", "#include <assert.h>\nint main() { assert(f(1) == 2); }\n"),
    "C++": ("int f(int x) { return x + 1; }\n", "#include <assert.h>\nint main() { assert(f(1) == 2); }\n"),
    "D": ("int f(int x) { return x + 1; }\n", "void main() { assert(f(1) == 2); }\n"),
    "C#": (
        "using System;\nnamespace S { public class Program { public static int F(int x) { return x + 1; }\n",
        'public static void Main(string[] a) { if (F(1) != 2) throw new Exception("no"); } } }\n',
    ),
    "Go": (
        "package main\nfunc f(x int) int { return x + 1 }\n",
        'package main\nimport "testing"\nfunc TestF(t *testing.T) { if f(1) != 2 { t.Fatal("no") } }\n',
    ),
    "Rust": (
        "fn main(){}\nfn f(x: i32) -> i32 { x + 1 }\n",
        "#[cfg(test)]\nmod tests {\n use super::*;\n #[test]\n fn test_f() { assert_eq!(f(1), 2); } }\n",
    ),
    "Shell": ("f() { echo $(($1 + 1)); }\n", "[[ $(f 1) == 2 ]] || exit 1\n"),
    "PHP": ("<?php\nfunction f($x) { return $x + 1; }\n", "if (f(1) != 2) { throw new Exception('no'); }\n"),
    "Ruby": ("def f(x)\n  x + 1\nend\n", "raise StandardError, 'no' if f(1) != 2\n"),
    "Perl": ("sub f { my ($x) = @_; return $x + 1; }\n", "die 'no' if f(1) != 2;\n"),
    "Lua": ("local function f(x) return x + 1 end\n", "assert(f(1) == 2)\n"),
    "R": ("f <- function(x) x + 1\n", "stopifnot(f(1) == 2)\n"),
    "Haskell": (
        "f :: Int -> Int\nf x = x + 1\n",
        'main :: IO ()\nmain = if f 1 == 2 then return () else error "no"\n',
    ),
    "Swift": ("func f(x : Int) -> Int { return x + 1 }\n", "assert(f(x : 1) == 2)\n"),
}


def wrong(name: str) -> tuple[str, str]:
    """The sample of a language with a mistake in its program."""
    program, tests = SAMPLES[name]
    return program.replace("+ 1", "+ 2"), tests
