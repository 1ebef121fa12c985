"""docs/figures/scenes.jpg: 24 procedural scenes, those that dataset.type=scenes begins with.

python docs/figures/scenes.py
"""

from pathlib import Path

import numpy as np

from spidereye.picture_writing import write_picture
from spidereye.sources.scenes import SceneSource

COUNT, COLUMNS, WIDTH, MARGIN = 24, 4, 400, 4


def main() -> None:
    source = SceneSource("train", COUNT)
    rows, height = COUNT // COLUMNS, WIDTH // 2
    shape = (rows * (height + MARGIN) - MARGIN, COLUMNS * (WIDTH + MARGIN) - MARGIN, 3)
    sheet = np.full(shape, 255, np.uint8)
    for index in range(COUNT):
        top = index // COLUMNS * (height + MARGIN)
        left = index % COLUMNS * (WIDTH + MARGIN)
        sheet[top : top + height, left : left + WIDTH] = source.panorama(index, WIDTH)
    write_picture(Path(__file__).with_suffix(".jpg"), sheet, quality=88)


if __name__ == "__main__":
    main()
