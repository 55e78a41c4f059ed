"""Rules of our own for extensions that languages share: asked before linguist's where those err, and behind them where
linguist would ask its trained classifier.

Each pattern is RE2 and asked of every line's start, or anywhere in a line; all are our choice, and held to the labelled
samples of `tests/corpus/labeled_languages.py`. The first rule that holds decides.
"""

from __future__ import annotations

from typing import Any

_Rules = list[tuple[str, list[str]]]  # language, patterns of which one is enough

# What is no code and would be taken for it: comments ("class of errors", "try to"), and what of a header only a C++
# compiler is shown.
PASSED_OVER = {
    ".h": r"(?ms)/\*.*?\*/|//[^\n]*|^[ \t]*#[ \t]*ifndef[ \t]+__cplusplus\s.*?^[ \t]*#[ \t]*endif"
    r"|^[ \t]*#[ \t]*if(?:def[ \t]+|[^\n]*)__cplusplus.*?^[ \t]*#[ \t]*(?:else|elif|endif)",
    ".ml": r"(?s)\(\*.*?\*\)",
}

_PERL = r"^\s*use\s+(?:strict|warnings|v?5\.|feature|parent|base|Moo|Moose|Mojo::\w+|Test::(?:More|Simple|Most|Deep))\b"
_RAKU = r"^\s*(?:use\s+v6\b|unit\s+(?:module|class|role|package)\b|use\s+Test\s*;)|^#!.*\b(?:raku|perl6)\b"
_RAKU_BLOCKS = (
    r"^\s*(?:(?:my\s+)?(?:class|role|grammar)\s+[A-Z][\w:-]*[^;{]*\{|(?:multi|proto)\s+(?:sub|method|token)\b)"
)
_PERL_FAMILY: _Rules = [
    ("Raku", [_RAKU]),
    ("Perl", [r"^package\s+[\w:]+\s*(?:[\d.]+\s*)?;", _PERL, r"^\s*(?:my|our)\s*[\$@%(].*\bshift\b"]),
    ("Raku", [_RAKU_BLOCKS]),
    ("Perl", [r"^\s*(?:my|our|local)\s*[\$@%(]"]),
]
_PROLOG = [
    r"^[a-z]\w*\([^()]*\)\.\s*(?:%.*)?$", r"^[a-z]\w*(?:\(.*\))?\s*-->", r"^(?:\?-|:-)", r"^[a-z]\w*\.\s*$",
    r"^%!\s", r"^[^\"'#$;]*[\])]\)\.\s*$", r"^[^#\n]*:-\s*$",
]  # fmt: skip
_C_LINE = (
    r"^[ \t]*#[ \t]*(?:include[ \t]*[<\"]|define[ \t]+\w|undef[ \t]+\w|ifdef[ \t]+\w|ifndef[ \t]+\w|pragma[ \t]+\w)"
)

FIRST: dict[str, _Rules] = {
    ".cls": [
        ("VBA", [r"^VERSION\s+[\d.]+\s+CLASS\b", r"^Attribute\s+VB_"]),
        ("OpenEdge ABL", [r"(?i)^\s*class\s+[\w.]+(?:\s+(?:inherits|implements)\s[^:\n]*)?:\s*$"]),
    ],
    ".inc": [
        ("PHP", [r"^\s*<\?(?:php|=|\s)"]),
        ("SourcePawn", [r"^\s*#(?:endinput|if\s+!?defined\s+_)", r"^\s*(?:native|forward|stock)\s+\w"]),
        ("POV-Ray SDL", [r"^\s*#(?:declare|local|macro|version|default)\s"]),
        ("C++", [r"^\s*#\s*include\s*[<\"]", r"^\s*template\s*<", r"^\s*(?:inline\s+)?namespace\s+[\w:]*\s*\{", r"^[^\"'/*$\n]*\w::\w"]),
    ],
    ".m": [
        ("Objective-C", [_C_LINE, r"^\s*#\s*import\s*[<\"]", r"^\s*@(?:import|class)\s+\w", r"(?:^|[\s(\[,=])@\"",
                         r"^(?:extern|static|typedef|int|void|id|BOOL)\s+[\w*(][^=%]*[;({]?\s*$"]),
        ("Limbo", [r"^implement\s+\w+\s*[;,]"]),
        ("Mercury", [r"^\s*:-\s*module\b"]),
        ("MATLAB", [r"^\s*(?:function|classdef)\s+[\w\[(]", r"^##?\s*-\*-\s*texinfo"]),
    ],
    ".ml": [
        ("Standard ML", [r"^\s*(?:structure|functor|signature)\s+\w[^\n]*=", r"^\s*fun\s+[\w'\s()]+=\s"]),
        ("OCaml", [r"^\s*open\s+[A-Z]\w*", r"\[@@", r"^let\s+(?:rec\s+)?[\w()']+"]),
    ],
    ".pl": _PERL_FAMILY,
    ".pm": _PERL_FAMILY,
    ".pro": [
        ("QMake", [r"^\s*(?:TEMPLATE|TARGET|QT|CONFIG|SOURCES|HEADERS|FORMS|SUBDIRS|LIBS|INCLUDEPATH|DEFINES|RESOURCES)\s*[-+*~]?="]),
        ("Proguard", [r"^-(?:keep\w*|dont\w+|optimizationpasses|assumenosideeffects|repackageclasses|verbose|printmapping|injars)\b"]),
    ],
    ".t": _PERL_FAMILY,
    ".ts": [("TypeScript", [r"\A\x{FEFF}?\s*[^<\s]"])],  # a translation file is XML and begins as one
    ".v": [
        ("Verilog", [r"^\s*endmodule\b", r"^\s*`timescale\b"]),
        ("V", [r"^\s*(?:pub\s+)?fn\s+(?:\(\w+[^)]*\)\s*)?\w+(?:\[\w+\])?\s*\("]),
        ("Coq", [r"^\s*(?:Theorem|Lemma|Definition|Fixpoint|Inductive|Section|From\s+\S+\s+Require|Require|Proof|Qed)\b"]),
    ],
}  # fmt: skip

BEHIND: dict[str, _Rules] = {
    ".cl": [("OpenCL", [r"\b(?:__)?kernel\s+void\b", r"\bget_global_id\s*\("])],
    ".cls": [
        ("Apex", [r"(?i)^\s*(?:public|private|global)\s+(?:(?:virtual|abstract|static|with|without|inherited|sharing)\s+)*(?:class|interface|enum)\s+\w"]),
        ("TeX", [r"^\s*\\(?:LoadClass|RequirePackage|newcommand|def|ProcessOptions)\b"]),
    ],
    ".d": [("Makefile", [r"^[^\s:#][^:#\n]*:(?:\s|\\|$)"])],  # a compiler's dependency file
    ".es": [("JavaScript", [r"^\s*(?:import|export|const|let|var|function|class)\s"])],
    ".fs": [("F#", [r"^\s*(?:let|type|module|open|namespace)\s"]), ("GLSL", [r"\bgl_Frag\w+\b", r"^\s*void\s+main\s*\("])],
    ".g": [
        ("ANTLR", [r"^\s*(?:(?:lexer|parser|tree)\s+)?grammar\s+\w+\s*;"]),
        ("G-code", [r"^\s*(?:N\d+\s*)?[GM]\d+\b"]),
        ("GAP", [r":=\s*function\s*\(", r"^\s*(?:od|fi);", r"\b(?:InstallMethod|DeclareOperation)\s*\("]),
    ],
    ".h": [
        ("C++", [
            r"^\s*#\s*include\s*<[a-z_]+>", r"\w::~?\w", r"\benum\s+(?:class|struct)\s+\w", r"\bextern\s+\"C\+\+\"",
            r"\b(?:override|noexcept|decltype|static_cast|dynamic_cast|reinterpret_cast|const_cast)\b", r"^[^\"\n]*\bvirtual\s+[\w~][^;\"\n]*\(",
            r"\boperator\s*(?:[-+*/=<>!&|^~%]{1,3}|\[\]|\(\)|\s(?:new|delete)(?:\[\])?)\s*\(", r"\)[^;(){}\n]*=\s*(?:default|delete)\s*;", r"^\s*using\s+\w+\s*=",
            r"^\s*struct\s+\w+(?:\s+final)?\s*:\s*(?:public|private|protected|virtual)\b", r"^\s*(?:public|private|protected)\s+slots:",
            r"\bconst\s+[\w<>]+\s*&\s*\w", r"\b(?:int|char|double|float|bool|auto|size_t)\s*&\s*\w", r"^[^?\n]*\)\s*:\s*\w+\([^;?]*\)\s*[,{]",
        ]),
    ],
    ".inc": [
        ("C++", [r"^[ \t]*#[ \t]*(?:define|ifdef|ifndef|if|undef|pragma)\b",
                 r"^(?:static|inline|extern|const|typedef|struct|enum|union|unsigned|void|int|char|double)\s+[\w*]+.*[;{(,]?\s*$"]),
        ("Assembly", [r"^\s*(?:%(?:define|macro|include|if)|\.(?:macro|equ|text|globl)|\w+\s+(?:equ|EQU|db|dw|dd)\s)"]),
        ("Pascal", [r"(?i)^\s*(?:procedure|function|unit|uses|var|const|type)\s.*;?\s*$", r"\{\$(?:IFDEF|DEFINE)"]),
        ("HTML", [r"(?i)^\s*<(?:!doctype|html|head|body|div|table|ul|ol|p|a|script|form|link|meta|h[1-6])\b"]),
        ("SQL", [r"(?i)^\s*(?:select\s.+\sfrom|insert\s+into|create\s+(?:table|view|index)|drop\s+table|delete\s+from)\b"]),
        ("Shell", [r"^\s*(?:if \[|export \w+=|fi$|esac$)"]),
        ("Makefile", [r"^[\w.$()%/-]+\s*(?:[:?+]?=|:)\s*\S?", r"^\t\S"]),
    ],
    ".m": [
        ("Mathematica", [r"\b(?:BeginPackage|Begin|Module|Needs|SetAttributes)\[", r"^\s*\w+\[[^\]]*_[^\]]*\]\s*:?=",
                         r"\b[A-Z][a-z]\w*\[[^\]\n]*"]),
        ("MATLAB", [
            r"^\s*function\b[^;{]*$", r"^\s*(?:end(?:if|for|while|function)?|clc|clear|close all|hold on);?\s*$",
            r"^\s*[\w.(),: ]+\s*=\s*[^=].*;\s*(?:%.*)?$", r"\.\.\.\s*$", r"^\s*(?:for|while|if|switch)\b[^{]*$",
            r"^\s*\w+(?:\([^)]*\))?\s*=\s*[^={]+$", r"^\s*(?:load|disp|plot|figure|addpath)\b",
        ]),
    ],
    ".mm": [("Objective-C++", [r"^\s*(?:@(?:interface|implementation|end|import)|#\s*(?:import|include))\b"])],
    ".mod": [("AMPL", [r"^\s*(?:param|var|set|minimize|maximize|subject\s+to)\s+\w+"])],
    ".pl": [
        ("Perl", [r"^\s*(?:sub\s+\w+|package\s+[\w:]+|require\s)", r"^=(?:head\d|pod|cut)\b", r"^\s*[\$@%]\w+\s*(?:=|\+\+)",
                  r"^\s*(?:foreach|print|open|while|use)\b.*[;{]\s*$"]),
        ("Prolog", _PROLOG),
    ],
    ".pm": [("Perl", [r"^\s*(?:package\s+[\w:]+|sub\s+\w+|=head\d)"])],
    ".pro": [
        ("Prolog", _PROLOG[:3]),
        ("IDL", [r"(?i)^\s*(?:pro|function)\s+\w[\w:]*\s*(?:,.*)?$"]),
        ("QMake", [r"^[\w:|!-]+\s*\{\s*$", r"^\s*!?include\(.*\)"]),
        ("Proguard", [r"(?i)proguard"]),
    ],
    ".r": [("R", [r"^\s*(?:library|require|source)\s*\(", r"\bfunction\s*\("])],
    ".rs": [("Rust", [r"\b(?:fn|struct|enum|impl|let(?:\s+mut)?|pub|use|mod)\s+\w", r"^\s*//[/!]"])],
    ".s": [("Unix Assembly", [r"^\s*\.\w+", r"^[\w.$]+:", r"^\s+[a-z]\w+\s"])],
    ".spec": [
        ("RPM Spec", [r"(?i)^(?:Name|Version|Summary|License|Release):\s", r"^%(?:description|prep|build|install|files|package)\b"]),
        ("Ruby", [r"^\s*(?:require|require_relative)\s+['\"]", r"^\s*(?:RSpec\.)?describe\b"]),
        ("Python", [r"^\s*(?:import\s+\w|from\s+[\w.]+\s+import\s)", r"\b(?:Analysis|PYZ|EXE)\("]),
    ],
    ".t": [("Perl", [r"^\s*(?:my|our)\s*[\$@%(]", r"\bTest::(?:More|Simple)\b"])],
    ".v": [
        ("Verilog", [r"^\s*(?:module|wire|reg|assign|input|output|parameter|localparam)\b"]),
        ("V", [r"^\s*module\s+\w+\s*$", r"^import\s+[\w.]+\s*$"]),
    ],
}  # fmt: skip


def rules_for(extension: str, table: dict[str, _Rules]) -> list[dict[str, Any]]:
    """Rules in the form of linguist's."""
    return [
        {"language": language, "all": [{"any": [f"(?m){one}" for one in patterns]}]}
        for language, patterns in table.get(extension, [])
    ]
