"""Faults of a colour camera beside the thermal one, on scenes seen by both through known cameras."""

import cv2
import numpy as np
import pytest

from tdepth_jax.thermal import rgb_faults

THERMAL = np.array([[150.0, 0, 79.5], [0, 150, 59.5], [0, 0, 1]])
RGB = np.array([[420.0, 0, 320], [0, 420, 180], [0, 0, 1]])


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], (0.1, 0, 0)
    return motion


def seen(texture, K, size, camera_from_world):
    """A far scene, painted on the plane z = 1 of the world (1 = 300 texels), as a camera at the origin sees it."""
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ camera_from_world[:3, :3]
    u, v = (300 * rays[..., i] / rays[..., 2] + 500 for i in (0, 1))
    return cv2.remap(texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)


def pairs(count, rgb_from_thermal, seed=0):
    """What is hot is dark to the RGB camera, and each has noise of its own: edges are all they share."""
    rng = np.random.default_rng(seed)
    thermals, colours = [], []
    for _ in range(count):
        texture = cv2.GaussianBlur(rng.normal(0, 1, (1000, 1000)).astype(np.float32), (0, 0), 12)
        texture = np.where(texture > 0, 1.0, 0.0).astype(np.float32)
        hot = seen(texture, THERMAL, (120, 160), np.eye(4))
        light = seen(1 - texture, RGB, (360, 640), rgb_from_thermal)
        thermals.append(np.uint16(8000 + 400 * hot + rng.normal(0, 20, hot.shape)))
        grey = 60 + 120 * light + rng.normal(0, 8, light.shape)
        colours.append(np.clip(grey[..., None] * (1.0, 0.9, 0.7), 0, 255).astype(np.uint8))
    return thermals, colours


def fault(thermals, colours, motion):
    found = rgb_faults.scene_fault(
        thermals, colours, "x", K_thermal=THERMAL, K_rgb=RGB, rgb_from_thermal=motion
    )
    return str(found) if found else ""


@pytest.mark.parametrize("count", [5, 12])
def test_pairs_of_one_scene_are_told_from_others(count):
    motion = turned(6)
    thermals, colours = pairs(count, motion)
    assert fault(thermals, colours, motion) == ""
    assert "agree no better" in fault(thermals, colours[1:] + colours[:1], motion)
    assert "agree no better" in fault(thermals, colours, np.linalg.inv(motion))


def test_a_camera_that_looks_elsewhere():
    thermals, colours = pairs(5, turned(6))
    assert "sees 0% of what the thermal one sees" in fault(thermals, colours, turned(180))
    assert "% of what the thermal one sees" in fault(thermals, colours, turned(70))


def test_few_pairs_say_nothing():
    thermals, colours = pairs(4, turned(6))
    assert fault(thermals, colours[::-1], turned(6)) == ""


def test_grey_and_blank_frames():
    def named(frames):
        return [(f.name, f.grave) for f in rgb_faults.colour_faults(frames, "x")]

    _, colours = pairs(3, turned(0))
    grey = [np.repeat(frame[..., :1], 3, axis=-1) for frame in colours]
    blank = [np.full_like(frame, 3) for frame in colours]
    assert named(colours) == []
    assert named([*grey[:2], colours[0]]) == []  # one colour frame is enough
    assert named(grey) == [("rgb_grey", False)]
    assert named([*blank, colours[0]]) == [("rgb_constant", True)]
    assert named([blank[0], *colours]) == []


def test_a_baseline_in_millimetres():
    motion = turned(0)
    assert rgb_faults.baseline_fault(motion, "x") is None
    motion[0, 3] = 100
    found = rgb_faults.baseline_fault(motion, "x")
    assert found.grave
    assert "100 m apart; is its shift in millimetres?" in str(found)
