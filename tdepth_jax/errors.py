"""The one exception that a door turns into a sentence."""


class UserError(Exception):
    """A mistake the user can mend: one sentence saying what is wrong, where, and how to mend it.

    Doors (`tdepth_jax.cli.run_door`) print it to standard error and exit with code 2. Anything else that
    escapes a door is a bug of ours and keeps its traceback.
    """
