"""Speed of the 8-bit stitch: against ffmpeg's v360 filter, against our float path, and its quality.

v360: a dual fisheye of 190° (equidistant, 2x 1024x1024 in one frame) to 2048x1024, one frame after
the other, decoded frames in memory, bilinear, unblended, both sides on two threads and in turns.
Formats are those that v360 takes: yuv420p and gbrp; ours also rgb24, which v360 cannot do. Then
whether it is the same picture: v360's rim lies at the centres of the outermost pixels (radius 511.5
about 511.5), so that is the lens ours is given; with our 512 the rest is another zoom by 0.1 %.

Frames: four views of 1216x1216 to 2048x1024, feathered; baseline: the float path, planned once as
well. Memory is the peak of a process that makes the plan and some frames.

Quality: agreement of both paths there, and PSNR of both from 128-px views to 256x128.

    SPIDEREYE_SHARED=… python benchmarks/stitch.py [--rounds 41]

Times are medians of wall clock; beside them the processes' own seconds (user and system, all
threads), on which others on the machine have less influence.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ["GOMP_SPINCOUNT"] = "3000"  # as our commands have it: spidereye.cpu

import cv2
import numpy as np
import torch
from machine import machine, process_peak, show
from session import shared_panoramas
from v360 import PLANES, dual_fisheye, frame_of, libavfilter, planes_of, planner, v360
from view_quality import TARGET

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.cpu import keep_large_buffers
from spidereye.frame_stitching import FramePlan
from spidereye.pictures import to_float, to_uint8
from spidereye.render import RenderPlan, render_each
from spidereye.rig import Rig, spider4
from spidereye.sources import SourceConfig, open_source
from spidereye.stitching import StitchPlan
from spidereye.view_sampling import KERNELS

THREADS = 2
HEIGHT, WIDTH, SIDE = 1024, 2048, 1216
WANTED_DB, WANTED_RATIO, WANTED_MS, WANTED_MB = 35.0, 1.5, 250.0, 500.0

Times = dict[str, dict[str, float]]


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """For each way medians of wall and processor milliseconds, the first round left out."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            wall, own = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - wall, time.process_time() - own))
    columns = {name: list(zip(*pairs[1:], strict=True)) for name, pairs in taken.items()}
    return {
        name: {"wall": 1e3 * statistics.median(wall), "own": 1e3 * statistics.median(own)}
        for name, (wall, own) in columns.items()
    }


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    error = np.square(made.astype(np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / error))


def pixels(picture: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(to_uint8(picture[0]).permute(1, 2, 0).numpy())


def panorama(path: Path) -> np.ndarray:
    """A real panorama, enlarged to the size of the outputs."""
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def shot(picture: np.ndarray, rig: Rig) -> list[np.ndarray]:
    tensor = to_float(torch.from_numpy(picture).permute(2, 0, 1))[None]
    return [pixels(view) for view, _ in render_each(tensor, rig.cameras, "training")]


def against_v360(picture: np.ndarray, rounds: int) -> dict:
    rig = dual_fisheye(radius=511.5)
    back, front = shot(picture, Rig(rig.cameras[::-1]))
    file = np.concatenate((back, front), axis=1)
    results: dict = {"times_ms": {}, "psnr": {}}
    for name in PLANES:
        frame = frame_of(file, name)
        ours, theirs = planner(rig, name, "bilinear"), v360(frame, THREADS)
        inputs = planes_of(frame)
        results["times_ms"][name] = in_turns(
            {"v360": theirs, "ours": lambda made=ours, given=inputs: made(given)}, rounds
        )
        want = planes_of(theirs())
        scores = {"ours to v360": _mean_psnr(ours(inputs), want)}
        if name == "gbrp":
            other = planner(dual_fisheye(radius=512.0), name, "bilinear")
            truth = planes_of(frame_of(picture, name))
            scores["ours with radius 512 to v360"] = _mean_psnr(other(inputs), want)
            scores["v360 to the panorama"] = _mean_psnr(want, truth)
            scores["ours to the panorama"] = _mean_psnr(ours(inputs), truth)
        results["psnr"][name] = scores
    plan = FramePlan.for_files(
        rig.cameras, [0, 0], [(WIDTH, HEIGHT)], HEIGHT, WIDTH, kernel="bilinear", blend="none"
    )
    frame = frame_of(file, "gbrp")
    ways = {"v360": v360(frame, THREADS), "ours": lambda: plan([file])}
    results["times_ms"]["gbrp to our rgb24"] = in_turns(ways, rounds)
    return results


def _mean_psnr(made: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """Over all samples of all planes."""
    return psnr(*(np.concatenate([plane.ravel() for plane in planes]) for planes in (made, want)))


def frames(picture: np.ndarray, rounds: int) -> dict:
    """Milliseconds a frame, of plans with the first frame, and how well both paths agree."""
    rig = spider4(220 * SIDE / 560, 0.85, SIDE)
    pictures = shot(picture, rig)
    views = [to_float(torch.from_numpy(one).permute(2, 0, 1))[None] for one in pictures]
    gain = torch.linspace(0.8, 1.2, 12, dtype=torch.float64).reshape(4, 3)
    offset = torch.linspace(-0.1, 0.1, 12, dtype=torch.float64).reshape(4, 3)
    results: dict = {"first_ms": {}, "times_ms": {}, "agreement_db": {}, "baseline_ms": {}}
    for kernel in KERNELS:
        start = time.perf_counter()
        plan = FramePlan.for_cameras(rig.cameras, HEIGHT, WIDTH, kernel=kernel)
        made = plan(pictures)
        results["first_ms"][kernel] = 1e3 * (time.perf_counter() - start)
        cameras = [camera.to(dtype=torch.float32) for camera in rig.cameras]
        floats = StitchPlan.for_cameras(cameras, HEIGHT, WIDTH, kernel=kernel)
        ways = {
            "plain": lambda plan=plan: plan(pictures),
            "gains": lambda plan=plan: plan(pictures, gain, offset),
        }
        few = max(1, rounds // 20)  # the float path takes seconds
        both = in_turns(ways | {"float": lambda way=floats: to_uint8(way(views).panorama)}, few)
        results["times_ms"][kernel] = in_turns(ways, rounds // 2)
        results["baseline_ms"][kernel] = both["float"]
        results["agreement_db"][kernel] = psnr(made, pixels(floats(views).panorama))
    return results


def small_views(root: Path) -> dict[str, dict[str, float]]:
    """Mean PSNR over the validation split, 128-px views to 256x128, of both paths."""
    rig = spider4(220 * 128 / 560, 0.85, 128)
    source = open_source(SourceConfig(root=str(root)), "val")
    render_plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = PanoramaDataset(source, TARGET, render_plan)
    render = Renderer(rig, render_plan, source.names)
    size = TARGET[::-1]
    plans = {k: FramePlan.for_cameras(rig.cameras, *size, kernel=k) for k in KERNELS}
    floats = {k: StitchPlan.for_cameras(rig.cameras, *size, kernel=k) for k in KERNELS}
    scores: dict[str, dict[str, list[float]]] = {k: {"8 bits": [], "float": []} for k in KERNELS}
    for index in range(len(dataset)):
        batch = render([dataset[index]])
        truth = pixels(batch.panorama)
        pictures = [pixels(view) for view in batch.views.unbind(1)]
        for kernel in KERNELS:
            scores[kernel]["8 bits"].append(psnr(plans[kernel](pictures), truth))
            made = floats[kernel](batch.views.unbind(1)).panorama
            scores[kernel]["float"].append(psnr(pixels(made), truth))
    return {k: {way: statistics.mean(x) for way, x in row.items()} for k, row in scores.items()}


def peak_memory(kernel: str) -> float:
    """Peak MB of a process that makes a plan and five frames, with gains."""
    command = [sys.executable, __file__, "--memory", kernel]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def make_frames(kernel: str) -> None:
    """The part of `peak_memory` in its own process."""
    rig = spider4(220 * SIDE / 560, 0.85, SIDE)
    pictures = [np.full((SIDE, SIDE, 3), 50 * number, np.uint8) for number in range(4)]
    plan = FramePlan.for_cameras(rig.cameras, HEIGHT, WIDTH, kernel=kernel)
    for _ in range(5):
        plan(pictures, torch.full((4, 3), 0.9, dtype=torch.float64))
    print(process_peak())


def show_all(results: dict) -> None:
    rows = []
    for name, times in results["v360"]["times_ms"].items():
        ratios = [times["ours"][clock] / times["v360"][clock] for clock in ("wall", "own")]
        cells = [f"{times[way]['wall']:.1f} ({times[way]['own']:.1f})" for way in times]
        rows.append((name, *cells, f"{ratios[0]:.2f} ({ratios[1]:.2f})", f"≤ {WANTED_RATIO}"))
    show("dual fisheye to 2048x1024, bilinear: ms a frame, wall (processor)",
         ("format", "v360", "ours", "ratio", "wanted"), rows)  # fmt: skip
    rows = [
        (name, what, f"{value:.1f}", f"≥ {WANTED_DB:g}" if what == "ours to v360" else "")
        for name, scores in results["v360"]["psnr"].items()
        for what, value in scores.items()
    ]
    show("same picture, dB", ("format", "what", "PSNR", "wanted"), rows)
    ours, rows = results["frames"], []
    for kernel, times in ours["times_ms"].items():
        slow = ours["baseline_ms"][kernel]
        cells = [f"{t['wall']:.0f} ({t['own']:.0f})" for t in (*times.values(), slow)]
        faster = f"{slow['own'] / times['plain']['own']:.1f}×"
        rows.append((kernel, f"{ours['first_ms'][kernel]:.0f}", *cells, faster,
                     f"{results['peak_mb'][kernel]:.0f}",
                     f"{ours['agreement_db'][kernel]:.1f}"))  # fmt: skip
    show(f"4x 1216² to 2048x1024, feathered: ms, wall (processor); wanted ≤ {WANTED_MS:g}, "
         f"< {WANTED_MB:g} MB",
         ("kernel", "plan + first", "frame", "with gains", "float path", "ratio of processor",
          "peak MB", "dB to float"), rows)  # fmt: skip
    rows = [(k, *(f"{x:.2f}" for x in row.values())) for k, row in results["small_views"].items()]
    show("PSNR of 128-px views to 256x128, mean over val", ("kernel", "8 bits", "float"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/stitch.json"))
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_large_buffers()  # as our commands do
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)
    if arguments.memory:
        return make_frames(arguments.memory)
    root = shared_panoramas()
    picture = panorama(sorted((root / "val").iterdir())[0])
    results = {
        "v360": against_v360(picture, arguments.rounds),
        "frames": frames(picture, arguments.rounds),
        "peak_mb": {kernel: peak_memory(kernel) for kernel in KERNELS},
        "small_views": small_views(root),
    }
    show_all(results)
    about = {**machine(THREADS, "uint8"), "opencv": cv2.__version__, **libavfilter()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"about": about, **results}, indent=1))
    print(", ".join(f"{key} {value}" for key, value in about.items()))


if __name__ == "__main__":
    main()
