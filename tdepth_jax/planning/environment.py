"""What a process must be told before JAX starts in it, so that it compiles for TPUs and needs none."""

from __future__ import annotations

import importlib.util
import os

from tdepth_jax.errors import UserError

QUIET = {"TPU_SKIP_MDS_QUERY": "1", "TPU_STDERR_LOG_LEVEL": "3", "TF_CPP_MIN_LOG_LEVEL": "3"}
# The compiler wants to know the machine it is on; any will do. A second plan may run beside this one.
MACHINE = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def settle() -> None:
    """This process computes on the CPU, whatever the machine has.

    Raises:
      UserError: no TPU compiler is installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "compiling for a TPU needs the TPU compiler, which runs on any Linux machine: pip install libtpu (or pip "
            "install -e '.[tpu]'), best in an environment of its own"
        )
    for name, value in {**QUIET, **MACHINE}.items():
        os.environ.setdefault(name, value)
    os.environ["JAX_PLATFORMS"] = "cpu"
