"""The world keeps its promises: exact geometry, determinism, physics that a thermal camera would show."""

import dataclasses
import itertools
import pickle

import cv2
import numpy as np
import pytest

from tdepth_jax.data import world
from tdepth_jax.data.world import facts, sequence
from tdepth_jax.errors import UserError

LABEL = {name: i for i, name in enumerate(world.LABEL_NAMES)}


def _spec(split="train", condition=None, k=0, frames=3, **changes):
    spec = world.sequences(split, frames=frames)[k]
    return dataclasses.replace(spec, **({"condition": condition} if condition else {}), **changes)


def _celsius(frame):
    return world.celsius_from_counts(frame["thermal/image"], facts.SENSORS["train"])


@pytest.fixture(scope="module")
def conditions():
    """The first frame of one layout under every condition."""
    return {c: next(world.render(_spec(condition=c, k=2))) for c in world.CONDITIONS}


def test_planck_agrees_with_the_published_values():
    # Celsius -> counts of the FLIR A65C constants, worked out by hand from the formula.
    known = {0: 1965.1, 10: 2384.2, 20: 2852.0, 30: 3369.3, 40: 3936.5}
    sensor = world.SensorFacts()
    for celsius, counts in known.items():
        assert world.counts_from_celsius(celsius, sensor) == pytest.approx(counts, abs=0.06)
    t = np.linspace(-60, 90, 31)
    back = world.celsius_from_counts(world.counts_from_celsius(t, sensor), sensor)
    np.testing.assert_allclose(back, t, atol=1e-9)
    assert world.METADATA["sensor"]["planck"]["R"] == sensor.planck_R


def test_same_spec_same_bytes_and_others_differ():
    spec = _spec(frames=4)
    one, two = list(world.render(spec)), list(world.render(pickle.loads(pickle.dumps(spec))))
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert np.asarray(a[key]).tobytes() == np.asarray(b[key]).tobytes(), key
    # A shorter or later sequence of the same split is another world.
    other = next(world.render(world.sequences("train", seed=1, frames=4)[0]))
    assert not np.array_equal(one[0]["thermal/depth"], other["thermal/depth"])
    assert len({s.seed for split in world.SPLITS for s in world.sequences(split)}) == 400 + 9 + 6 + 240 + 480


def test_frames_have_the_records_schema():
    for split in world.SPLITS:
        frames = list(world.render(_spec(split, frames=2, height=48, width=64)))
        assert [f["index"] for f in frames] == [0, 1]
        assert frames[1]["timestamp_ns"] - frames[0]["timestamp_ns"] == 100_000_000
        for f in frames:
            assert f["condition"] in world.CONDITIONS
            assert f["rgb_from_thermal"].dtype == np.float32
            assert f["radar"].shape[1] == len(world.RADAR_COLUMNS)
            assert f["radar"].dtype == np.float32
            for camera in ("thermal", "rgb"):
                assert f[f"{camera}/K"].dtype == np.float32
                assert f[f"{camera}/world_from_camera"].dtype == np.float64
                known = camera == "rgb" or split != "rgb_train"
                assert (f"{camera}/depth" in f) == (known and split != "new_scene_train")
                assert f.get(f"{camera}/depth", np.zeros((48, 64), np.float32)).dtype == np.float32
                assert f.get(f"{camera}/depth", np.zeros((48, 64))).shape == (48, 64)
                assert (f"{camera}/labels" in f) == (known and split in ("train", "test", "rgb_train"))
            assert f["thermal/image"].dtype == np.uint16
            assert f["thermal/image"].max() < 2**14
            assert f["rgb/image"].shape == (48, 64, 3)
            assert f["rgb/image"].dtype == np.uint8


def _warp_error(target, source, source_from_target, K_target, K_source, static):
    """Mean absolute error of the source picture, or depth, read through the target's depth; and the share seen."""
    z = target["depth"].astype(np.float64)
    h, w = z.shape
    y, x = np.mgrid[:h, :w]
    X = np.stack(
        [(x - K_target[0, 2]) / K_target[0, 0] * z, (y - K_target[1, 2]) / K_target[1, 1] * z, z], -1
    )
    Y = X @ source_from_target[:3, :3].T + source_from_target[:3, 3]
    zs = np.maximum(Y[..., 2], 1e-3)
    u = (Y[..., 0] / zs * K_source[0, 0] + K_source[0, 2]).astype(np.float32)
    v = (Y[..., 1] / zs * K_source[1, 1] + K_source[1, 2]).astype(np.float32)
    inside = (z > 0) & static & (Y[..., 2] > 0.2) & (u > 0) & (u < w - 1) & (v > 0) & (v < h - 1)
    there = cv2.remap(source["depth"], u, v, cv2.INTER_NEAREST)
    seen = inside & (np.abs(there - Y[..., 2]) < 0.03 * Y[..., 2])
    picture = cv2.remap(source["image"].astype(np.float32), u, v, cv2.INTER_LINEAR)
    error = np.abs(picture - target["image"].astype(np.float32))
    return error[inside].mean(), error[seen].mean(), seen.sum() / max(inside.sum(), 1)


@pytest.mark.parametrize("k", [0, 1, 3, 10])
def test_depth_and_poses_warp_one_frame_onto_the_next(k):
    spec = _spec(k=k, frames=4)
    frames = list(world.render(spec))
    stage = sequence.build(spec)
    static = ~sequence.look(stage, 0, "thermal")[1].moving.reshape(spec.height, spec.width)
    part = lambda f: {"image": f["thermal/image"], "depth": f["thermal/depth"]}  # noqa: E731
    a, b = frames[0], frames[2]
    K = a["thermal/K"].astype(np.float64)
    b_from_a = np.linalg.inv(b["thermal/world_from_camera"]) @ a["thermal/world_from_camera"]
    every, seen, share = _warp_error(part(a), part(b), b_from_a, K, K, static)
    wrong, _, _ = _warp_error(part(a), part(b), np.linalg.inv(b_from_a), K, K, static)
    still = np.abs(a["thermal/image"].astype(float) - b["thermal/image"])[
        static & (a["thermal/depth"] > 0)
    ].mean()
    assert share > 0.7
    assert seen < 0.35 * still  # far below what standing still explains
    assert every < 0.5 * wrong
    assert wrong > still


def test_the_two_cameras_agree_through_the_extrinsics(conditions):
    f = conditions["day"]
    depth = lambda c: {"image": f[f"{c}/depth"], "depth": f[f"{c}/depth"]}  # noqa: E731
    everything = np.ones(f["thermal/depth"].shape, bool)
    K = (f["thermal/K"].astype(np.float64), f["rgb/K"].astype(np.float64))
    E = f["rgb_from_thermal"].astype(np.float64)
    _, _, share = _warp_error(depth("thermal"), depth("rgb"), E, *K, everything)
    _, _, wrong = _warp_error(depth("thermal"), depth("rgb"), np.linalg.inv(E), *K, everything)
    assert share > 0.9
    assert wrong < share - 0.03
    thermal_from_world = np.linalg.inv(f["thermal/world_from_camera"])
    np.testing.assert_allclose(thermal_from_world @ f["rgb/world_from_camera"], np.linalg.inv(E), atol=1e-6)
    assert 0.1 < np.linalg.norm(E[:3, 3]) < 0.3


def test_ground_depth_is_the_plane_met_by_the_ray(conditions):
    # Independent of the renderer: where a pixel is road, camera height over the ray's fall is its z-depth.
    f = conditions["day"]
    road = f["thermal/labels"] == LABEL["road"]
    assert road.mean() > 0.05
    K, pose = f["thermal/K"].astype(np.float64), f["thermal/world_from_camera"]
    v, u = np.nonzero(road & (f["thermal/depth"] > 0))
    rays = np.linalg.inv(K) @ np.stack([u, v, np.ones_like(u)]).astype(np.float64)
    fall = (pose[:3, :3] @ rays)[2]
    np.testing.assert_allclose(f["thermal/depth"][v, u], -pose[2, 3] / fall, rtol=2e-3)


def test_sky_has_no_depth_and_everything_else_near_has(conditions):
    for f in conditions.values():
        sky = f["thermal/labels"] == LABEL["sky"]
        assert (f["thermal/depth"][sky] == 0).all()
        depth = f["thermal/depth"][~sky]
        assert (depth > 0).mean() > 0.97
        assert depth[depth > 0].min() > 0.3
        assert depth.max() <= facts.MAX_DEPTH


def test_day_road_is_warm_and_the_sky_cold(conditions):
    f = conditions["day"]
    t = _celsius(f)
    road, sky = (np.median(t[f["thermal/labels"] == LABEL[k]]) for k in ("road", "sky"))
    green = np.median(t[f["thermal/labels"] == LABEL["vegetation"]])
    assert road > green + 3
    assert sky < green - 8


def test_people_are_warm_by_night():
    found = []
    for k in range(12):
        f = next(world.render(_spec(condition="night", k=k, frames=1)))
        person = (f["thermal/labels"] == LABEL["person"]) & (f["thermal/depth"] < 15)
        if person.sum() > 12:
            ground = np.isin(f["thermal/labels"], [LABEL["road"], LABEL["ground"]])
            found.append(np.percentile(_celsius(f)[person], 75) - np.median(_celsius(f)[ground]))
    assert len(found) >= 2
    assert np.median(found) > 3


def _ground_contrast(frame):
    solid = frame["thermal/depth"] > 0
    return _celsius(frame)[solid].std()


def test_contrast_falls_at_crossover_and_noise_stays(conditions):
    assert _ground_contrast(conditions["crossover"]) < 0.5 * _ground_contrast(conditions["day"])
    # Sensor noise, seen in the fine detail of the smooth fog sky: tens of millikelvin (2 to 10 counts).
    f = conditions["crossover"]
    sky = cv2.erode((f["thermal/labels"] == LABEL["sky"]).astype(np.uint8), np.ones((5, 5))) > 0
    image = f["thermal/image"].astype(np.float32)
    fine = (image - cv2.medianBlur(image, 3))[sky]
    assert 1.0 < np.median(np.abs(fine)) * 1.48 < 10


def test_fog_hides_the_distance_from_rgb_and_hardly_from_thermal(conditions):
    def far_contrast(frame, image):
        far = (frame["thermal/depth"] > 25) & (frame["thermal/depth"] < 70)
        return image[far].std()

    grey = {c: f["rgb/image"].mean(-1) for c, f in conditions.items()}
    assert far_contrast(conditions["fog"], grey["fog"]) < 0.35 * far_contrast(conditions["day"], grey["day"])
    heat = {c: _celsius(conditions[c]) for c in ("fog", "crossover")}
    assert far_contrast(conditions["fog"], heat["fog"]) > 0.7  # kelvin: far above the noise
    assert grey["night"].mean() < 0.5 * grey["day"].mean()


def test_fixed_pattern_and_dead_pixels_belong_to_the_sensor():
    masks = [next(world.render(_spec(k=k, frames=1)))["thermal/valid"] for k in (0, 5)]
    np.testing.assert_array_equal(*masks)
    assert 0 < (masks[0] == 0).sum() < 40
    other = next(world.render(_spec("new_scene", frames=1)))["thermal/valid"]
    assert not np.array_equal(masks[0], other)
    f, g = list(world.render(_spec(k=0, frames=2)))
    dead = f["thermal/valid"] == 0
    np.testing.assert_array_equal(f["thermal/image"][dead], g["thermal/image"][dead])


def test_the_shutter_repeats_frames_now_and_then_but_never_in_test():
    def repeats(split):
        specs = world.sequences(split, height=16, width=24)[:24]
        return sum(
            any(np.array_equal(a["thermal/image"], b["thermal/image"]) for a, b in itertools.pairwise(fs))
            for fs in (list(world.render(s)) for s in specs)
        )

    assert 1 <= repeats("train") <= 8
    assert repeats("test") == 0


def test_radar_measures_the_scene():
    """Most returns lie on a surface that the camera sees, and recede as the camera's own motion has it."""
    spec = _spec(k=3, frames=4)
    frames = list(world.render(spec))
    f, g = frames[1], frames[2]
    x, y, z, speed, _ = f["radar"].T.astype(np.float64)
    K = f["thermal/K"]
    u, v = np.round(K[0, 0] * x / z + K[0, 2]), np.round(K[1, 1] * y / z + K[1, 2])
    inside = (z > 0.5) & (u >= 3) & (u < spec.width - 3) & (v >= 5) & (v < spec.height - 5)
    near = []
    for uu, vv, zz in zip(u[inside].astype(int), v[inside].astype(int), z[inside], strict=True):
        patch = f["thermal/depth"][vv - 5 : vv + 6, uu - 3 : uu + 4]
        near.append(np.min(np.abs(patch - zz)) < 0.5 + 0.03 * zz)
    assert np.mean(near) > 0.6
    step = (np.linalg.inv(f["thermal/world_from_camera"]) @ g["thermal/world_from_camera"])[:3, 3] * 10  # m/s
    expected = -(np.stack([x, y, z], 1) @ step) / np.linalg.norm([x, y, z], axis=0)
    assert np.median(np.abs(speed - expected)) < 0.8


def test_motion_is_within_the_stated_pace():
    for spec in world.sequences("train")[:12]:
        poses = sequence.build(spec).poses
        pace = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        assert 0.2 < pace.mean() < 1.0
        R = poses[:, :3, :3]
        np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (len(R), 1, 1)), atol=1e-12)


def test_contact_sheet_shows_every_frame(conditions):
    frames = list(conditions.values())
    sheet = world.contact_sheet(frames)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (14 + 4 * 130, 7 * 162, 3)
    blind = [{k: v for k, v in frames[0].items() if "labels" not in k}]
    assert world.contact_sheet(blind).shape == (14 + 130, 7 * 162, 3)


def test_command_writes_the_sheet(tmp_path):
    from tdepth_jax.data.world.__main__ import main

    main([str(tmp_path / "sheet.png"), "--rows", "1"])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (144, 1134, 3)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="new_scene"):
        world.sequences("validation")
    with pytest.raises(UserError, match="at least"):
        world.sequences("train", count=0)
