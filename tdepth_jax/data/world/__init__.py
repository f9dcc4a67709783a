"""ThermalWorld: a seeded street and campus world that renders every modality, exactly aligned.

A test bed for code, never evidence about the real world. See docs/world.md.
"""

from tdepth_jax.data.world.contact import contact_sheet
from tdepth_jax.data.world.facts import (
    CONDITIONS,
    LABEL_NAMES,
    METADATA,
    RADAR_COLUMNS,
    SPLITS,
    SensorFacts,
    celsius_from_counts,
    counts_from_celsius,
)
from tdepth_jax.data.world.sequence import SequenceSpec, render, sequences

__all__ = [
    "CONDITIONS",
    "LABEL_NAMES",
    "METADATA",
    "RADAR_COLUMNS",
    "SPLITS",
    "SensorFacts",
    "SequenceSpec",
    "celsius_from_counts",
    "contact_sheet",
    "counts_from_celsius",
    "render",
    "sequences",
]
