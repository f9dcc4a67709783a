"""How a door refuses: one sentence, exit code 2, no records."""

import pytest

from tdepth_jax import errors


def sentence(capsys, out, door):
    """What `door()` says when it refuses; nothing that looks like records is left under `out`."""
    with pytest.raises(SystemExit) as caught:
        errors.run_door(lambda argv: door())
    assert caught.value.code == 2
    assert not list(out.rglob("*.json"))
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("error: ")
    return last
