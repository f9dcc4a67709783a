"""A ZJU-4DRadarCam tree in the released layout, with known depths and radar points."""

import cv2
import numpy as np

SIZE = (720, 1280)
STEMS = {"train": ("1000", "1001"), "val": ("1002",), "test": ("1003", "1004")}
POINTS = np.array(
    [[700.0, 400.0, 21.5], [100.0, 300.0, 8.25], [640.0, 100.0, 30.0]]
)  # u, v, depth; the last is above


def write(root):
    data = root / "data"
    for folder in ("image", "gt", "gt_interp", "radar", "radar_png"):
        (data / folder).mkdir(parents=True)
    for split, stems in STEMS.items():
        (data / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for stem in stems:
            number = int(stem) - 1000
            image = np.zeros((*SIZE, 3), np.uint8)
            image[:, :, 2] = 10 + number  # OpenCV writes BGR: red is the frame's number
            image[240:540, :, 0] = 77
            cv2.imwrite(str(data / "image" / f"{stem}.png"), image)
            sparse, filled = np.zeros(SIZE, np.uint16), np.full(SIZE, 256 * 9, np.uint16)
            sparse[300, 200 + number], sparse[100, 50] = 256 * 12 + 64, 256 * 5
            cv2.imwrite(str(data / "gt" / f"{stem}.png"), sparse)
            cv2.imwrite(str(data / "gt_interp" / f"{stem}.png"), filled)
            np.save(data / "radar" / f"{stem}.npy", POINTS[0] if stem == "1004" else POINTS)
