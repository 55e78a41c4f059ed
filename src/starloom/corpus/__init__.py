"""REPOSITORY FILE → CLEAN DOCUMENT: read, attributes and verdicts beside the files, and the mix that joins them.

`Read` stores raw facts; `Language` and `License` say what they are; `Rules` says what is kept, and why not;
`ExactDedup` groups; `Mix` decides and lays out training text.
"""

from starloom.corpus.decontaminate import Decontaminate
from starloom.corpus.exact_dedup import ExactDedup
from starloom.corpus.kind_rules import KindRules, OneCommitPerFile
from starloom.corpus.language import Language, language_of
from starloom.corpus.language_sets import language_set
from starloom.corpus.license import License
from starloom.corpus.license_expressions import license_type
from starloom.corpus.mix import Mix
from starloom.corpus.near_dedup import NearDedup
from starloom.corpus.opt_out import OptOut
from starloom.corpus.origin import Origin
from starloom.corpus.pii import FindPII, find_pii
from starloom.corpus.read import Read
from starloom.corpus.rules import STACK_RULES, Rule, Rules, SourceFile, quickstart_rules, rule
from starloom.corpus.rules_sets import RULE_SETS, rule_set

__all__ = [
    "RULE_SETS",
    "STACK_RULES",
    "Decontaminate",
    "ExactDedup",
    "FindPII",
    "KindRules",
    "Language",
    "License",
    "Mix",
    "NearDedup",
    "OneCommitPerFile",
    "OptOut",
    "Origin",
    "Read",
    "Rule",
    "Rules",
    "SourceFile",
    "find_pii",
    "language_of",
    "language_set",
    "license_type",
    "quickstart_rules",
    "rule",
    "rule_set",
]
