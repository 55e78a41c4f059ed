"""The published rule sets, by name: what each model's data had to pass, in the order in which it was asked."""

from __future__ import annotations

from collections.abc import Callable

from starloom.corpus.language_sets import language_set
from starloom.corpus.rules import (
    STACK_RULES,
    Rule,
    empty,
    few_alphanumeric,
    language_not_selected,
    license_not_permissive,
    long_lines,
    rule,
)
from starloom.corpus.rules_published import (
    comments,
    encoded_data,
    extension_table,
    few_alphabetic,
    few_stars,
    generated,
    little_visible_text,
    long_data,
    long_lines_by_language,
    many_lines,
    size_window,
    text_not_about_code,
    vendored,
    xml_header,
)
from starloom.errors import ConfigError, suggestion


def santacoder(*more: Rule) -> tuple[Rule, ...]:
    """SantaCoder's base (arXiv 2301.03988): three languages, permissive, the basic limits; an ablation adds a rule."""
    return (
        rule(language_not_selected, languages=language_set("santacoder")),
        rule(license_not_permissive),
        rule(empty),
        rule(long_lines),
        rule(few_alphanumeric),
        *more,
    )


def starcoder() -> tuple[Rule, ...]:
    """StarCoder (arXiv 2305.06161): its 86 languages, JSON and YAML, permissive, limits by extension."""
    return (
        rule(language_not_selected, languages=language_set("starcoder")),
        rule(license_not_permissive),
        rule(empty),
        rule(extension_table),
        rule(little_visible_text),
        rule(size_window),
    )


def starcoder2() -> tuple[Rule, ...]:
    """StarCoder2 (arXiv 2402.19173): permissive or without license, lengths, generated, letters, encoded data."""
    return (
        rule(language_not_selected, languages=language_set("starcoder2")),
        rule(license_not_permissive, kept=("permissive", "no_license")),
        rule(empty),
        rule(many_lines),
        rule(long_lines_by_language),
        rule(generated),
        rule(few_alphabetic),
        rule(encoded_data),
        rule(text_not_about_code),
        rule(long_data),
    )


def everything() -> tuple[Rule, ...]:
    """Every rule that looks at a file's text, with the loosest choice of languages: to see what each would drop."""
    return (
        *STACK_RULES, rule(many_lines), rule(generated), rule(vendored), rule(few_alphabetic), rule(encoded_data),
        rule(xml_header), rule(little_visible_text), rule(size_window), rule(long_data), rule(text_not_about_code),
        rule(comments), rule(extension_table),
    )  # fmt: skip


# SantaCoder's ablations of filters. Fertility needs a tokenizer: it is `tokens.Fertility` beside the base rules.
RULE_SETS: dict[str, Callable[[], tuple[Rule, ...]]] = {
    "stack": lambda: STACK_RULES,
    "santacoder": santacoder,
    "santacoder-stars": lambda: santacoder(rule(few_stars)),
    "santacoder-comments": lambda: santacoder(rule(comments)),
    "santacoder-fertility": santacoder,
    "starcoder": starcoder,
    "starcoder2": starcoder2,
    "everything": everything,
}


def rule_set(name: str) -> tuple[Rule, ...]:
    """The rules behind a published name. Raises ConfigError for an unknown one."""
    if name not in RULE_SETS:
        raise ConfigError(f"no rule set '{name}'; {suggestion(name, RULE_SETS)}")
    return RULE_SETS[name]()
