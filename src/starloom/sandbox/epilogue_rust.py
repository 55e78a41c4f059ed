"""Rust: program and tests with a main function of ours, and the crates that OctoPack's prompts use built once.

libtest's "1 passed" can be printed by any program, so that its runner is not used: each `#[test]` function becomes a public
one and is called by name. The token is taken before the program's constructors. Not covered: a program that searches its
memory or defines libc's read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from starloom.sandbox.epilogue import Woven, fresh_name
from starloom.sandbox.languages import Toolchain
from starloom.sandbox.programs import Command

REGISTRY: Final = Path("/usr/share/cargo/registry")  # where Debian's librust-*-dev lay their sources
_LIBC = (
    "freebsd11",
    "libc_priv_mod_use",
    "libc_union",
    "libc_const_size_of",
    "libc_align",
    "libc_int128",
    "libc_core_cvoid",
    "libc_packedN",
    "libc_cfg_target_vendor",
    "libc_non_exhaustive",
    "libc_ptr_addr_of",
    "libc_underscore_const_names",
    "libc_const_extern_fn",
    "libc_long_array",
)  # fmt: skip — what libc's build script finds out of any rustc since 1.62
_UNICODE = ("unicode", *(f"unicode-{part}" for part in ("age", "bool", "case", "gencat", "perl", "script", "segment")))
# crate → (edition, features, other cfgs, crates it needs), each after those that it needs
CRATES: Final[dict[str, tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    "cfg-if": ("2018", (), (), ()),
    "libc": ("2015", ("std",), _LIBC, ()),
    "getrandom": ("2018", ("std",), (), ("cfg-if", "libc")),
    "ppv-lite86": ("2018", ("std", "simd"), (), ()),
    "rand_core": ("2018", ("std", "alloc", "getrandom"), (), ("getrandom",)),
    "rand_chacha": ("2018", ("std",), (), ("ppv-lite86", "rand_core")),
    "rand": (
        "2018", ("std", "std_rng", "alloc", "getrandom", "libc", "rand_chacha"), (), ("rand_core", "rand_chacha", "libc")
    ),
    "regex-syntax": ("2018", _UNICODE, (), ()),
    "regex": ("2018", ("std", *_UNICODE), (), ("regex-syntax",)),
    "md5": ("2015", ("std",), (), ()),
}  # fmt: skip
USED: Final = ("rand", "regex", "md5")
# OctoPack's tests were written for rand 0.4, whose gen_range takes two numbers; since 0.8 it takes a range.
_TWO_NUMBERS = re.compile(r"\bgen_range\(([^,()]+), ([^,()]+)\)")

_EPILOGUE = """
mod {module} {{
    extern "C" {{
        fn read(descriptor: i32, buffer: *mut u8, size: usize) -> isize;
        fn write(descriptor: i32, buffer: *const u8, size: usize) -> isize;
        fn close(descriptor: i32) -> i32;
        fn open(path: *const u8, flags: i32) -> i32;
        fn getpid() -> i32;
    }}
    static mut GIVEN: [u8; 256] = [0; 256];
    static mut LENGTH: usize = 0;
    static mut FIRST: i32 = 0;
    extern "C" fn take() {{
        unsafe {{
            FIRST = getpid();
            while LENGTH < 256 {{
                let start = (&raw mut GIVEN).cast::<u8>().add(LENGTH);
                let count = read(0, start, 256 - LENGTH);
                if count <= 0 {{ break; }}
                LENGTH += count as usize;
            }}
            close(0);
            open(b"/dev/null\\0".as_ptr(), 0);
        }}
    }}
    #[used]
    #[link_section = ".preinit_array"]
    static EARLY: extern "C" fn() = take;
    pub fn say(checks: usize) {{
        use ::std::io::Write;
        ::std::io::stdout().flush().unwrap();
        unsafe {{
            if getpid() != FIRST {{ return; }}
            let given = ::std::slice::from_raw_parts((&raw const GIVEN).cast::<u8>(), LENGTH);
            let mut said = ::std::vec![b'\\n'];
            said.extend_from_slice(&given[LENGTH / 2..]);
            said.extend_from_slice(&given[..LENGTH / 2]);
            said.extend_from_slice(::std::format!(" {{}}\\n", checks).as_bytes());
            write(1, said.as_ptr(), said.len());
        }}
    }}
}}
fn main() {{
    let mut checks = 0;
{calls}
    {module}::say(checks);
}}
"""


def woven(found: Toolchain, program: str, tests: str) -> Woven:
    """Tests are `#[test]` functions in `mod tests`, or a `fn main` that panics."""
    module, program = fresh_name("end"), re.sub(r"fn main\(\)\s*\{\s*\}", "", program, count=1)
    names = re.findall(r"#\[test\][^{}]*?\bfn (\w+)\s*\(\)", tests)
    if names:
        tests = re.sub(r"#\[cfg\(test\)\]", "", tests)
        tests = re.sub(r"#\[test\]([^{}]*?)(?:\bpub\s+)?\bfn\b", r"\1pub fn", tests)
        calls = "".join(f"    tests::{name}(); checks += 1;\n" for name in names)
    else:
        main = fresh_name("main")
        tests = re.sub(r"\bfn main\s*\(\)", f"fn {main}()", tests)
        calls = f"    {main}(); checks += 1;\n"
    tests = _TWO_NUMBERS.sub(r"gen_range(\1..\2)", tests)
    epilogue = _EPILOGUE.format(module=module, calls=calls)
    if _version(found) < (1, 82):  # before it, `&raw` is not stable
        epilogue = epilogue.replace("(&raw mut GIVEN)", "::std::ptr::addr_of_mut!(GIVEN)")
        epilogue = epilogue.replace("(&raw const GIVEN)", "::std::ptr::addr_of!(GIVEN)")
    entry = found.language
    wanted = [crate for crate in USED if re.search(rf"\b{crate}\b", program + tests)]
    externs = [word for crate in wanted for word in ("--extern", f"{crate}=lib{crate}.rlib")]
    return Woven(
        {entry.file: f"{program}\n{tests}\n{epilogue}".encode()},
        entry.run,
        (*entry.compile[:-1], *externs, *(("-L", ".") if wanted else ()), entry.file),
        entry.keep,
        ("crates",) if wanted else (),
    )


def _version(found: Toolchain) -> tuple[int, int]:
    number = re.search(r"(\d+)\.(\d+)", found.version)
    return (int(number[1]), int(number[2])) if number else (0, 0)


def absent() -> tuple[str, ...]:
    """The crates whose sources are not on this machine."""
    return tuple(crate for crate in CRATES if _source(crate) is None)


def crates(found: Toolchain) -> Command:
    """Compiles the crates one after the other."""
    lines = []
    for crate, (edition, features, cfgs, needs) in CRATES.items():
        name = crate.replace("-", "_")
        options = " ".join(
            (
                *(f"--cfg 'feature=\"{feature}\"'" for feature in features),
                *(f"--cfg {cfg}" for cfg in cfgs),
                *(f"--extern {need.replace('-', '_')}=lib{need.replace('-', '_')}.rlib" for need in needs),
            )
        )
        lines.append(
            f'"$0" --crate-name {name} --crate-type rlib --edition {edition} --cap-lints allow -C opt-level=0 '
            f"-C debuginfo=0 -L . {options} -o lib{name}.rlib '{_source(crate)}'"
        )
    names = tuple(f"lib{crate.replace('-', '_')}.rlib" for crate in CRATES)
    script = " && ".join(lines)
    return Command(
        ("/bin/sh", "-c", script, str(found.programs["rustc"])), limits=found.language.compile_limits, keep=names
    )


def _source(crate: str) -> Path | None:
    return next(iter(sorted(REGISTRY.glob(f"{crate}-[0-9]*/src/lib.rs"))), None)
