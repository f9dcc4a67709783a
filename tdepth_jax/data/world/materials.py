"""What surfaces are made of: how warm they get against the air, how textured, how bright.

Temperatures are differences to the air in kelvin, of a usual size for a clear day and a clear night (asphalt
and masonry store heat, metal roofs and grass lose it to the cold sky). They set the scene, they measure nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tdepth_jax.data.world import texture


@dataclasses.dataclass(frozen=True)
class Material:
    """`shade`/`sun`: excess by day in the shade, and what full sun adds; `night`: excess by night (kelvin).

    `patchy`: standard deviation of the texture by day, kelvin. `fixed`: heated from within, so that crossover
    does not level it. `albedo`: reflectance in the visible (linear RGB), `mottle` its texture.
    """

    shade: float
    sun: float
    night: float
    patchy: float
    emissivity: float
    style: int
    albedo: tuple[float, float, float]
    mottle: float = 0.18
    fixed: bool = False
    glow: float = 0.0  # visible light given off at night


T = texture
MATERIALS: dict[str, Material] = {
    "asphalt": Material(4, 12, 4.5, 1.5, 0.95, T.ASPHALT, (0.13, 0.13, 0.14), 0.22),
    "paving": Material(3, 9, 3.0, 1.6, 0.94, T.SLABS, (0.34, 0.32, 0.30)),
    "grass": Material(-1, 4, -3.5, 1.8, 0.98, T.GRASS, (0.13, 0.21, 0.07), 0.3),
    "soil": Material(1, 9, 0.0, 1.7, 0.95, T.STAINS, (0.25, 0.18, 0.12), 0.25),
    "brick": Material(1, 10, 4.0, 1.6, 0.94, T.BRICK, (0.38, 0.19, 0.13), 0.25),
    "plaster": Material(0, 8, 2.5, 1.3, 0.93, T.STAINS, (0.55, 0.51, 0.45), 0.12),
    "panel": Material(0, 9, 1.5, 1.6, 0.92, T.PANELS, (0.42, 0.43, 0.44), 0.12),
    "ribbed": Material(1, 12, -1.5, 1.5, 0.90, T.RIBS, (0.33, 0.36, 0.40), 0.15),
    "roof": Material(3, 15, -5.0, 1.6, 0.92, T.RIBS, (0.25, 0.14, 0.11), 0.2),
    "foliage": Material(-1, 3, -1.0, 1.9, 0.97, T.FOLIAGE, (0.09, 0.18, 0.05), 0.4),
    "trunk": Material(-0.5, 4, 1.5, 1.2, 0.95, T.RIBS, (0.18, 0.13, 0.09), 0.3),
    "metal": Material(0, 6, -2.5, 0.7, 0.88, T.STAINS, (0.35, 0.36, 0.37), 0.1),
    "car": Material(1, 10, -4.0, 1.1, 0.88, T.STAINS, (0.4, 0.4, 0.4), 0.05),
    "glass": Material(-2, 2, -3.0, 0.7, 0.86, T.STAINS, (0.06, 0.07, 0.08), 0.05),
    "tyre": Material(1, 5, -0.5, 0.8, 0.95, T.ASPHALT, (0.04, 0.04, 0.04), 0.1),
    "hot": Material(22, 0, 24, 2.0, 0.93, T.STAINS, (0.12, 0.12, 0.13), 0.1, True),
    "warm_tyre": Material(10, 0, 13, 1.2, 0.95, T.ASPHALT, (0.04, 0.04, 0.04), 0.1, True),
    "warm_car": Material(5, 8, 2.0, 1.2, 0.88, T.STAINS, (0.4, 0.4, 0.4), 0.05, True),
    "lamp": Material(8, 0, 16, 0.3, 0.9, T.STAINS, (0.9, 0.85, 0.7), 0.0, True, 3.0),
    "tail_lamp": Material(4, 0, 8, 0.3, 0.9, T.STAINS, (0.8, 0.05, 0.03), 0.0, True, 1.2),
    # Skin and clothes hold their own temperature: `day`, `night` above a mild and a cool air.
    "skin": Material(13, 0, 21, 0.5, 0.98, T.STAINS, (0.5, 0.34, 0.26), 0.05, True),
    "clothes": Material(6, 2, 9.5, 0.9, 0.95, T.STAINS, (0.2, 0.2, 0.3), 0.15, True),
    "fur": Material(9, 2, 14, 0.9, 0.97, T.GRASS, (0.3, 0.22, 0.14), 0.2, True),
}
NAMES = tuple(MATERIALS)
INDEX = {name: i for i, name in enumerate(NAMES)}


def column(field: str) -> np.ndarray:
    """One field of all materials, in order of index."""
    return np.array([getattr(m, field) for m in MATERIALS.values()])
