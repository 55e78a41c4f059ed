"""Control tokens: the only file that knows how a family of models spells them and which ids they have.

Everything else says `end_of_document` or `fim_prefix`. A spelling met in text is text; a control that a family lacks is
an error, except a redaction mark, which then becomes text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starloom.errors import TokenizerError, suggestion

END_OF_DOCUMENT = "end_of_document"
FIM_CONTROLS = ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad")

# What stands for a redacted value in a family without a token for it (facts: StarCoder2's own four spellings).
REDACTION_MARKS = {
    "redacted_name": "<NAME>",
    "redacted_email": "<EMAIL>",
    "redacted_key": "<KEY>",
    "redacted_password": "<PASSWORD>",
}


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of models spells its control tokens, and where their ids lie."""

    name: str
    controls: tuple[tuple[str, str], ...]  # (abstract name, spelling) in the order of their ids
    on_top: bool  # ids after the BPE tokens; else the first ids of the vocabulary
    max_length: int  # tokens; `model_max_length` of a tokenizer that belongs to no particular model yet
    row_multiple: int  # the embedding matrix has a multiple of this many rows

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every spelling, in the order of ids."""
        return tuple(spelling for _, spelling in self.controls)

    def spelling(self, control: str) -> str:
        """The spelling of an abstract control. Raises TokenizerError when this family has none."""
        known = dict(self.controls)
        if control not in known:
            everywhere = {name for family in FAMILIES.values() for name, _ in family.controls} | set(REDACTION_MARKS)
            hint = (
                f"use a layout of the family {' or '.join(sorted(_families_with(control)))}"
                if _families_with(control)
                else suggestion(control, everywhere)
            )
            raise TokenizerError(f"the {self.name} family has no control token '{control}'; {hint}")
        return known[control]

    def marks_as_text(self) -> dict[str, str]:
        """Redaction marks that this family has no token for → the text that takes their place."""
        known = dict(self.controls)
        return {control: text for control, text in REDACTION_MARKS.items() if control not in known}

    def matrix_rows(self, size: int) -> int:
        """Rows of the embedding matrix for a vocabulary of this size; ids past the vocabulary are never used."""
        return -(-size // self.row_multiple) * self.row_multiple


# Spellings and orders of ids: the published tokenizers of bigcode/santacoder (hyphens, ids 49152–49156 on top of 49,152
# BPE tokens, matrix of 49,280 rows), bigcode/starcoder (ids 0–18) and bigcode/starcoder2 (ids 0–37).
_SANTACODER = Family(
    "santacoder",
    (
        ("end_of_document", "<|endoftext|>"),
        ("fim_prefix", "<fim-prefix>"),
        ("fim_middle", "<fim-middle>"),
        ("fim_suffix", "<fim-suffix>"),
        ("fim_pad", "<fim-pad>"),
    ),
    on_top=True,
    max_length=2048,  # published tokenizer_config.json
    row_multiple=128,  # 49,157 tokens in 49,280 rows
)

_STARCODER = Family(
    "starcoder",
    (
        ("end_of_document", "<|endoftext|>"),
        ("fim_prefix", "<fim_prefix>"),
        ("fim_middle", "<fim_middle>"),
        ("fim_suffix", "<fim_suffix>"),
        ("fim_pad", "<fim_pad>"),
        ("file_name", "<filename>"),
        ("stars", "<gh_stars>"),
        ("issue_start", "<issue_start>"),
        ("issue_comment", "<issue_comment>"),
        ("issue_closed", "<issue_closed>"),
        ("jupyter_start", "<jupyter_start>"),
        ("jupyter_text", "<jupyter_text>"),
        ("jupyter_code", "<jupyter_code>"),
        ("jupyter_output", "<jupyter_output>"),
        ("empty_output", "<empty_output>"),
        ("commit_before", "<commit_before>"),
        ("commit_message", "<commit_msg>"),
        ("commit_after", "<commit_after>"),
        ("repository", "<reponame>"),
    ),
    on_top=False,
    max_length=8192,  # the context that the family was trained with
    row_multiple=1,
)

_STARCODER2 = Family(
    "starcoder2",
    (
        ("end_of_document", "<|endoftext|>"),
        ("fim_prefix", "<fim_prefix>"),
        ("fim_middle", "<fim_middle>"),
        ("fim_suffix", "<fim_suffix>"),
        ("fim_pad", "<fim_pad>"),
        ("repository", "<repo_name>"),
        ("file_separator", "<file_sep>"),
        ("issue_start", "<issue_start>"),
        ("issue_comment", "<issue_comment>"),
        ("issue_closed", "<issue_closed>"),
        ("jupyter_start", "<jupyter_start>"),
        ("jupyter_text", "<jupyter_text>"),
        ("jupyter_code", "<jupyter_code>"),
        ("jupyter_output", "<jupyter_output>"),
        ("jupyter_script", "<jupyter_script>"),
        ("empty_output", "<empty_output>"),
        ("code_to_intermediate", "<code_to_intermediate>"),
        ("intermediate_to_code", "<intermediate_to_code>"),
        ("pull_request", "<pr>"),
        ("pull_request_status", "<pr_status>"),
        ("pull_request_is_merged", "<pr_is_merged>"),
        ("pull_request_base", "<pr_base>"),
        ("pull_request_file", "<pr_file>"),
        ("pull_request_base_code", "<pr_base_code>"),
        ("pull_request_diff", "<pr_diff>"),
        ("pull_request_diff_hunk", "<pr_diff_hunk>"),
        ("pull_request_comment", "<pr_comment>"),
        ("pull_request_event_id", "<pr_event_id>"),
        ("pull_request_review", "<pr_review>"),
        ("pull_request_review_state", "<pr_review_state>"),
        ("pull_request_review_comment", "<pr_review_comment>"),
        ("pull_request_in_reply_to_review_id", "<pr_in_reply_to_review_id>"),
        ("pull_request_in_reply_to_comment_id", "<pr_in_reply_to_comment_id>"),
        ("pull_request_diff_hunk_comment_line", "<pr_diff_hunk_comment_line>"),
        ("redacted_name", "<NAME>"),
        ("redacted_email", "<EMAIL>"),
        ("redacted_key", "<KEY>"),
        ("redacted_password", "<PASSWORD>"),
    ),
    on_top=False,
    max_length=16384,  # the context that the family was trained with
    row_multiple=1,
)

FAMILIES = {family.name: family for family in (_SANTACODER, _STARCODER, _STARCODER2)}


def family_named(name: str) -> Family:
    """The family of a name. Raises TokenizerError with the nearest one."""
    if name not in FAMILIES:
        raise TokenizerError(f"no family of tokenizers is called '{name}'; {suggestion(name, FAMILIES)}")
    return FAMILIES[name]


def family_of(spellings: Mapping[str, int]) -> Family:
    """The family whose control tokens a tokenizer has: the one with the most spellings in common.

    Raises TokenizerError when the end of a document has none.
    """
    best = max(FAMILIES.values(), key=lambda family: sum(spelling in spellings for spelling in family.spellings))
    if best.spelling(END_OF_DOCUMENT) not in spellings:
        raise TokenizerError(
            f"the tokenizer has no control token {best.spelling(END_OF_DOCUMENT)} and so belongs to none of the families "
            f"{', '.join(FAMILIES)}; point to a SantaCoder, StarCoder or StarCoder2 tokenizer"
        )
    return best


def every_spelling() -> tuple[str, ...]:
    """The spellings of all families, each once, in a fixed order."""
    return tuple(dict.fromkeys(spelling for family in FAMILIES.values() for spelling in family.spellings))


def _families_with(control: str) -> list[str]:
    return [family.name for family in FAMILIES.values() if control in dict(family.controls)]
