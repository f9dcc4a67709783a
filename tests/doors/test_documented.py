"""Every command that the documentation, a config or a table shows is one that its command line understands.

What is shown is parsed, and configs are loaded with their overrides. Doors are run by their own tests; what needs data,
weights or hours that a test has not is run by none.
"""

from __future__ import annotations

import importlib
import re
import shlex

import pytest
from tiny import ROOT

from tdepth_jax import cli, config, flags, systems

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md")]
FILES = [*PAGES, *ROOT.glob("configs/*.py"), *ROOT.glob("configs/tables/*.py"), *ROOT.glob("benchmarks/*.py")]
DOOR = re.compile(r"python -m tdepth_jax\.([a-z_]+)\b(?!\.)((?: [^`\x22\n#|]*)?)")  # \x22: a quotation mark
BENCHMARK = re.compile(r"python (benchmarks/\w+\.py)([^`\n#]*)")
PLACEHOLDER = re.compile(r"…|\.\.\.|=[A-Z]+\b(?!/)|KEY|NAME")


def shown(pattern):
    """(file, first group, second group) of all matches, lines that end in a backslash joined."""
    for path in FILES:
        text = path.read_text().replace("\\\n", " ")
        for match in pattern.finditer(text):
            yield pytest.param(
                *match.groups(default=""), id=f"{path.stem}-{match.group(0)[:60]}".replace(" ", "_")
            )


def words(text):
    text = text.split(" -->")[0].split("  ")[0].split(" && ")[0].rstrip(" :.,;)\\")
    said = shlex.split(text)
    values = {i + 1 for i, word in enumerate(said) if word[0] == "-" and "=" not in word}
    # A shell variable is a flag's value, or stands for more flags.
    return [word for i, word in enumerate(said) if word[0] != "$" or i in values]


@pytest.mark.parametrize(("door", "rest"), list(shown(DOOR)))
def test_a_door_understands(door, rest, monkeypatch):
    assert door in cli.DOORS, f"there is no command {door}"
    said = words(rest)
    if len(said) < 2 or PLACEHOLDER.search(rest.partition(" ")[0]):  # a mention
        return
    module = importlib.import_module(f"tdepth_jax.{door}")
    args, overrides = flags.parse_with_config(module.parser(), said)
    if getattr(args, "config", None) and not PLACEHOLDER.search(rest):
        monkeypatch.chdir(ROOT)
        config.load(args.config, overrides, systems.schema)


@pytest.mark.parametrize(("path", "rest"), list(shown(BENCHMARK)))
def test_a_benchmark_is_there_and_has_the_flags(path, rest):
    text = (ROOT / path).read_text()
    for word in words(rest):
        name = word.partition("=")[0]
        if name.startswith("--"):
            assert f'"{name}"' in text, f"{path} has no {name}"
