"""JPEG → batch: speed of decoding and rendering against the usual way, worker memory, and quality.

The job: from JPEG panoramas, with training's jitter, four 128-px fisheye views and a 256x128 target
each. Baseline, the usual way: full-size decode by OpenCV (faster here than Pillow), for each view
maps computed in float32 NumPy and one bilinear cv2.remap at source resolution, INTER_AREA for the
target, colours in NumPy. It runs in a plain process, and once more with the memory settings that
our commands make for themselves. All on one core, in turns; times are the processes' own (user and
system), so that others on the machine count little, and ratios are of medians.

Quality: PSNR of the views against 16x16 points per pixel in float64 on the full-size panorama,
beside point sampling, the usual way. Sources are the real panoramas, 1024x512, also enlarged.

    SPIDEREYE_SHARED=… python benchmarks/data.py [--rounds 9]
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch
from machine import machine, process_peak, show
from session import shared_panoramas
from view_quality import TARGET, quality, stitch_psnr

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.cpu import keep_large_buffers
from spidereye.jitter import JitterConfig, draw, jittered_cameras
from spidereye.picture_cache import PictureCache
from spidereye.render import QUALITIES, RenderPlan
from spidereye.rig import Rig, spider4
from spidereye.sources import SourceConfig, open_source

RIG = spider4(220 * 128 / 560, 0.85, 128)
BATCH = 12
SETTINGS = "baseline with our memory settings"
STAGES = ("decode", "target", "views")
NEEDED = {"2048 first pass": 1.8, "2048 cached": 3.5, "8192 first pass": 2.5}


def enlarged(pictures: Sequence[Path], width: int, folder: Path, suffix: str = ".jpg") -> Path:
    """A data folder of the pictures at another width, quality 92."""
    (folder / "train").mkdir(parents=True)
    for path in pictures:
        size = (width, width // 2)
        picture = cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_CUBIC)
        out = folder / "train" / f"{path.stem}{suffix}"
        options = [cv2.IMWRITE_JPEG_QUALITY, 92] if suffix == ".jpg" else []
        cv2.imwrite(str(out), picture, options)
    return folder


def usual_way(path: Path, index: int, epoch: int, stages: dict[str, list[float]]) -> None:
    """One sample of the baseline; the seconds of its stages are noted."""
    clock = [time.process_time()]
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    clock.append(time.process_time())
    target = cv2.resize(picture, TARGET, interpolation=cv2.INTER_AREA)
    target.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    clock.append(time.process_time())
    jitter = draw(JitterConfig(), 4, 0, epoch, index)
    _, cameras = jittered_cameras(RIG.cameras, [jitter])
    height, width = picture.shape[:2]
    for number, camera in enumerate(cameras):
        f, xi = float(camera.lens.f[0]), float(camera.lens.xi[0])
        rotation = camera.rotation[0].numpy().astype(np.float32)
        maps = _maps(f, xi, rotation, width, height)
        view = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        gain = (jitter.contrast[number] * jitter.color[number]).numpy().astype(np.float32)
        view = view.astype(np.float32) / 255 * gain + float(jitter.brightness[number])
        view = view.clip(0, 1).transpose(2, 0, 1) * 2 - 1
    clock.append(time.process_time())
    for name, seconds in zip(STAGES, np.diff(clock), strict=True):
        stages.setdefault(name, []).append(float(seconds))


def _maps(f: float, xi: float, rotation: np.ndarray, width: int, height: int):
    axis = (np.arange(128, dtype=np.float32) - 63.5) / np.float32(f)
    x, y = np.meshgrid(axis, -axis)
    r2 = x * x + y * y
    omega = (xi + np.sqrt(np.maximum(1 + (1 - xi * xi) * r2, 0))) / (1 + r2)
    rays = rotation @ np.stack((omega * x, omega * y, omega - xi)).reshape(3, -1)
    longitude = np.arctan2(rays[0], rays[2]).reshape(128, 128)
    latitude = np.arcsin(rays[1].clip(-1, 1)).reshape(128, 128)
    u = (longitude / np.float32(math.pi) + 1) * np.float32(width / 2) - 0.5
    v = (0.5 - latitude / np.float32(math.pi)) * np.float32(height) - 0.5
    return u, v


def serve_baseline(connection: Connection, folder: Path) -> None:
    """A process of its own without our commands' memory settings, as the usual way has them:
    for every number received, one pass over the folder; sends back seconds and stages."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    paths = sorted((folder / "train").iterdir())
    while (turn := connection.recv()) is not None:
        stages: dict[str, list[float]] = {}
        start = time.process_time()
        for index, path in enumerate(paths):
            usual_way(path, index, turn, stages)
        connection.send(((time.process_time() - start) / len(paths), stages))


def speed(folder: Path, cache: Path | None, rounds: int) -> dict[str, float]:
    """Milliseconds per sample of the baseline and its stages, and of ours."""
    source = open_source(SourceConfig(root=str(folder)), "train")
    plan = RenderPlan.for_cameras(RIG.cameras)
    render = Renderer(RIG, plan, source.names, jitter=JitterConfig())
    ways = {"first pass": PanoramaDataset(source, TARGET, plan)}
    if cache is not None:
        ways["cached"] = PanoramaDataset(source, TARGET, plan, PictureCache(cache))
    count = len(source)
    paths = [folder / name for name in source.names]
    times: dict[str, list[float]] = {name: [] for name in ("baseline", SETTINGS, *ways)}
    stages: dict[str, list[float]] = {}
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_baseline, args=(there, folder)
    )
    process.start()
    for turn in range(rounds + 1):  # the first warms up, and fills the cache
        here.send(turn)
        seconds, parts = here.recv()
        times["baseline"].append(seconds)
        for name, values in parts.items():
            stages.setdefault(name, []).extend(values)
        start = time.process_time()
        for index in range(count):
            usual_way(paths[index], index, turn, {})
        times[SETTINGS].append((time.process_time() - start) / count)
        for name, dataset in ways.items():
            start = time.process_time()
            samples = [dataset[index % count] for index in range(BATCH)]
            render(samples, turn)
            times[name].append((time.process_time() - start) / BATCH)
    here.send(None)
    process.join()
    medians = {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}
    return medians | {
        f"baseline of {name}": 1e3 * statistics.median(values[count:])
        for name, values in stages.items()
    }


def memory(folder: Path) -> float:
    """Peak memory in MB of a process that decodes a folder's panoramas as a worker does."""
    command = [sys.executable, __file__, "--decode", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def decode_all(folder: Path) -> None:
    """The part of `memory` in its own process."""
    source = open_source(SourceConfig(root=str(folder)), "train")
    dataset = PanoramaDataset(source, TARGET, RenderPlan.for_cameras(RIG.cameras, "exact"))
    for index in range(len(source)):
        dataset[index]
    print(process_peak())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/data.json"))
    parser.add_argument("--only", choices=("speed", "quality"))
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_large_buffers()  # as our commands do
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if arguments.decode:
        return decode_all(arguments.decode)
    real = shared_panoramas()
    with tempfile.TemporaryDirectory() as name:
        results = measure(real, Path(name), arguments.rounds, arguments.only)
    about = {**machine(threads=1), "opencv": cv2.__version__, "batch": str(BATCH)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"about": about, **results}, indent=1))
    print(", ".join(f"{key} {value}" for key, value in about.items()))


def measure(real: Path, folder: Path, rounds: int, only: str | None) -> dict:
    results: dict = {}
    train, val = (sorted((real / split).iterdir()) for split in ("train", "val"))
    if only != "quality":
        results |= measured_speed(train[:BATCH], folder, rounds)
    if only != "speed":
        results |= measured_quality(real, val, folder)
    return results


def measured_speed(pictures: Sequence[Path], folder: Path, rounds: int) -> dict:
    """Times, ratios and memory, printed and for the JSON."""
    times = {
        "2048": speed(enlarged(pictures, 2048, folder / "2048"), folder / "cache", rounds),
        "8192": speed(enlarged(pictures[:3], 8192, folder / "8192"), None, max(3, rounds // 3)),
    }
    rows, ratios = [], {}
    for width, medians in times.items():
        for way in ("first pass", "cached"):
            if way in medians:
                name = f"{width} {way}"
                ratios[name] = medians["baseline"] / medians[way]
                parts = [f"{part} {medians[f'baseline of {part}']:.1f}" for part in STAGES]
                rows.append((f"{width}x{int(width) // 2}, {way}", ", ".join(parts),
                             f"{medians['baseline']:.2f}", f"{medians[SETTINGS]:.2f}",
                             f"{medians[way]:.2f}", f"{ratios[name]:.2f}×",
                             f"≥ {NEEDED[name]}×",
                             f"{medians[SETTINGS] / medians[way]:.2f}×"))  # fmt: skip
    show("ms per sample on one core: JPEG to 4 views 128 px and panorama 256x128, with jitter",
         ("source", "baseline's stages", "baseline", "the same with our memory settings", "ours",
          "ratio", "wanted", "to the latter"), rows)  # fmt: skip
    enlarged(pictures[:2], 8192, folder / "png", ".png")
    peaks = {"JPEG": memory(folder / "8192"), "PNG": memory(folder / "png")}
    show("peak memory of a worker, 8192x4096 sources", ("sources", "MB", "wanted"),
         [(kind, f"{peak:.0f}", "< 600") for kind, peak in peaks.items()])  # fmt: skip
    return {"times_ms": times, "ratios": ratios, "worker_peak_mb": peaks}


def measured_quality(real: Path, val: Sequence[Path], folder: Path) -> dict:
    """PSNR of views and of the stitch, printed and for the JSON."""
    larger = enlarged(val[:3], 2048, folder / "larger") / "train"
    cases = {
        "128 px, all of val": (val, RIG),
        "128 px, 2048x1024": (sorted(larger.iterdir()), RIG),
        "32 px": (val[:3], spider4(220 * 32 / 560, 0.85, 32)),
        "128 px, telephoto 60°": (val[:3], spider4(220, 0.85, 128)),
        "512 px, one view": (val[:1], _first(spider4(220 * 512 / 560, 0.85, 512))),
        "128 px, ξ 1.3": (val[:3], spider4(70, 1.3, 128)),
    }
    scores, rows = {}, []
    for number, (name, (paths, rig)) in enumerate(cases.items()):
        scores[name] = quality(paths, rig, folder / f"quality{number}")
        cells = [f"{statistics.mean(x):.1f} ({min(x):.1f})" for x in scores[name].values()]
        rows.append((name, *cells))
    show("PSNR of the views in dB, mean (worst panorama); wanted: training ≥ 40, exact ≥ 48",
         ("views", *next(iter(scores.values()))), rows)  # fmt: skip
    stitches = {how: stitch_psnr(real, RIG, how) for how in QUALITIES}
    show("plain geometric stitch to 256x128, mean over val, 8 bits", ("views", "PSNR", "wanted"),
         [(how, f"{value:.2f}", "≥ 32.4") for how, value in stitches.items()])  # fmt: skip
    return {"view_psnr": scores, "stitch_psnr": stitches}


def _first(rig: Rig) -> Rig:
    return Rig(rig.cameras[:1])


if __name__ == "__main__":
    main()
