"""Where an answer ends: the published stop words, each list once with its source, and the end of a function.

Stop words end what a model writes while it is written; `cut` ends what is read from a file in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# BigCode's harness, tasks/humaneval.py. `<file_sep>` there is a control token and ends every completion here by itself.
HUMANEVAL: Final = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```")
MBPP: Final = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")  # tasks/mbpp.py
EVALPLUS_MBPP: Final = (
    '\n"""',
    "\nassert",
    "\nif __name__",
    "\ndef main(",
    "\nprint(",
)  # EvalPlus, gen/util: base models
QUIXBUGS: Final = ("\ndef", "\nclass", "\n#", "\n@", "\nprint", "\nif", "###", "///")  # tasks/quixbugs.py, "prompt"
DS1000: Final = ("</code>", "# SOLUTION END")  # tasks/ds1000.py
APPS: Final = ("\nQUESTION", "\n---", "\nANSWER")  # tasks/apps.py
PAL: Final = ("\n\n\n", "Q:")  # tasks/gsm.py, where the second is cut afterwards
CRUXEVAL: Final = ("[/ANSWER]",)  # inference/tasks/*_prediction.py
FENCE: Final = ("\n```",)  # StarCoder2-Instruct, evaluation/text2code.py
DOCSTRING: Final = ("'''", '"""')  # tasks/codexglue_code_to_text.py, Python; every other language ends at a line's end
LINE: Final = ("\n",)
# HumanEvalPack, tasks/humanevalpack.py, after CodeGeeX; the other languages have none but the function's end
PACK: Final = {
    "Python": ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\nassert"),
    "Go": ("\n//", "\nfunc main(", "struct", "\nfunc"),
}


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop words."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


@dataclass(frozen=True, slots=True)
class FunctionEnd:
    """Where a function that the prompt began is over.

    `brackets`: when as many braces were closed as the prompt left open (CodeGeeX and HumanEvalPack count all braces, those
    in strings and comments too; so do we). `last_line`: after this line at the margin. Without either: before the first
    line that is not indented.
    """

    brackets: int = 0
    last_line: str = ""

    def cut(self, text: str) -> str:
        """The rest of the function, whole if its end does not come."""
        if self.brackets:
            return self._to_the_bracket(text)
        place = 0
        for line in text.splitlines(keepends=True):
            if self.last_line and line.rstrip() == self.last_line:
                return text[: place + len(line)]
            if not self.last_line and place and line.strip() and not line[0].isspace():
                return text[:place]
            place += len(line)
        return text

    def _to_the_bracket(self, text: str) -> str:
        open_ = self.brackets
        for place, letter in enumerate(text):
            open_ += (letter == "{") - (letter == "}")
            if open_ == 0:
                return text[: place + 1]
        return text


PYTHON_END: Final = FunctionEnd()
# What is open where a prompt ends: the function, and in Java its class. A test of MXEval closes the class of Scala and C#.
ENDS: Final = {
    "Python": PYTHON_END,
    "Java": FunctionEnd(brackets=2),
    "Ruby": FunctionEnd(last_line="end"),
    **{
        name: FunctionEnd(brackets=1)
        for name in ("C++", "JavaScript", "TypeScript", "Go", "Rust", "PHP", "C#", "Kotlin", "Perl", "Scala", "Swift")
    },
}
