"""The words of a command line: a command's own flags, and `--config.KEY=VALUE` for any key of a config."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from tdepth_jax.errors import UserError, nearest


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """`argv` (the process's when None) as `parser` understands it.

    Raises:
      UserError: a word that it does not know; the sentence names the nearest flag.
    """
    args, overrides = parse_with_config(parser, argv)
    for name in overrides:
        _unknown(f"--config.{name}", _flags(parser, ()))
    return args


def parse_with_config(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, dict[str, str]]:
    """The same, and `--config.a.b=v` or `--config.a.b v` as {"a.b": "v"}."""
    words = sys.argv[1:] if argv is None else argv
    flags = _flags(parser, words)
    # Before argparse looks: for it a mistyped flag is above all a required one that lacks.
    for word in words:
        name = word.partition("=")[0]
        known = name.startswith("--config.") or any(flag.startswith(name) for flag in flags)
        if name.startswith("--") and not known:
            _unknown(word, flags)
    args, rest = parser.parse_known_args(words)
    overrides: dict[str, str] = {}
    unread = iter(rest)
    for word in unread:
        name, equals, value = word.partition("=")
        if not name.startswith("--config."):
            _unknown(word, flags)
        if not equals:
            value = next(unread, "")
            if not value or value.startswith("--config."):
                raise UserError(f"{name} has no value; write {name}=VALUE")
        overrides[name.removeprefix("--config.")] = value
    return args, overrides


def _unknown(word: str, known: set[str]) -> NoReturn:
    raise UserError(f"unknown argument {word!r}; {nearest(word.partition('=')[0], known)}")


def _flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """Where the command has verbs, those of the one among `words` too, or of all when it is mistyped."""
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            chosen = [one for verb, one in action.choices.items() if verb in words]
            found |= set().union(*(_flags(one, ()) for one in chosen or action.choices.values()))
    return found
