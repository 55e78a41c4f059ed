"""Guesses at what a sequence says next, looked up in what it said before and in the texts around it.

A guess costs rows in a forward and never changes a token: the engine makes at each of its places the very draw that it
would have made, and goes on for as long as the guess was right. The idea is prompt look-up decoding (Saxena 2023); on
library code an exact look-up in a file's own 512 tokens and more gave 1.48 tokens a step at 4 guessed and 1.57 at 8.
"""

from __future__ import annotations

from collections.abc import Sequence

GRAMS = (3, 2)  # ids that must agree, the longer first (our choice; 4 finds less, 1 is noise)
LONGEST = 7  # ids of a guess: eight rows with the last id, the most that `models/linear.py` has a fast way for
FIRST = 2  # ids of the first guess (our choice: sampled code is seldom guessed right, and it costs little to find out)
MARGIN = 1.5  # times the share that must be right, for the count of right ones varies (our choice)
WINDOW = 64  # guessed ids that the share of right ones is taken over, older ones fading (our choice)
FIRST_PAUSE, LONGEST_PAUSE = 16, 256  # ids drawn without guesses where they did not pay; each pause twice the last


class Drafter:
    """Drafts for one request. What it does depends on the ids that it is given and on nothing else."""

    def __init__(self, surroundings: Sequence[int] = ()) -> None:
        self._text = list(surroundings)
        self._first = len(self._text)  # where the sequence begins
        self._after: dict[
            tuple[int, ...], int
        ] = {}  # ids → the place after their last occurrence that something follows
        self._known = 0  # places before this one are in the table
        self._length = FIRST
        self._guessed = self._right = 0.0  # over the window
        self._resume = 0  # length of the sequence from which to guess again
        self._pause = FIRST_PAUSE

    def propose(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` ids that may follow, often none."""
        if len(ids) < self._resume or most < 1:
            return []
        text = self._text
        text.extend(ids[len(text) - self._first :])
        for place in range(max(self._known, GRAMS[-1]), len(text)):
            for size in GRAMS:
                if size <= place:
                    self._after[tuple(text[place - size : place])] = place
        self._known = len(text)
        for size in GRAMS:
            gram = tuple(text[-size:])
            place = self._after.get(gram, len(text))
            if place < len(text) and tuple(text[place - size : place]) == gram:  # else it was taken back
                guess: list[int] = []
                for at in range(place, place + min(most, self._length)):
                    guess.append(text[at] if at < len(text) else guess[at - len(text)])
                return guess
        return []

    def learn(self, guessed: int, right: int, length: int, needed: float) -> None:
        """So many ids of a guess were right; the sequence now has this length. A guess pays if the share `needed` is right."""
        fade = 1 - guessed / WINDOW
        self._guessed = self._guessed * fade + guessed
        self._right = self._right * fade + right
        self._length = min(LONGEST, 2 * self._length) if right == guessed else right + 1
        if self._guessed >= 2 * FIRST and self._right < min(1.0, MARGIN * needed) * self._guessed:
            self._resume = length + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._guessed = self._right = 0.0
            self._length = FIRST
        elif self._guessed >= WINDOW / 2:
            self._pause = FIRST_PAUSE

    def rollback(self, length: int) -> None:
        """The sequence has this length again."""
        del self._text[self._first + length :]
        self._known = min(self._known, len(self._text))
        self._resume = min(self._resume, length)


def share_needed(running: int, row_cost: float) -> float:
    """Of guessed ids, the share that must be right, so that their rows cost less than the steps that they save.

    With so many requests running, a forward of one row each costs 1 + (running - 1) · row_cost one-row forwards, and gives
    as many ids as there are requests.
    """
    return running * row_cost / (1 + (running - 1) * row_cost)
