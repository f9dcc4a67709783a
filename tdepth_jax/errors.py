"""The one exception that a door turns into a sentence, how such a sentence ends, and the turning."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence


class UserError(Exception):
    """A mistake the user can mend: one sentence saying what is wrong, where, and how to mend it.

    `run_door` prints it to standard error and exits with code 2. Anything else that escapes a door is a bug of
    ours and keeps its traceback.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """' Did you mean …?' or the list of choices, to end an error sentence with."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(choices)}"


def run_door(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> None:
    """Runs a door: a user's mistake becomes one sentence on standard error and exit code 2."""
    try:
        main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
