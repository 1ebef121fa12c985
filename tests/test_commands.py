"""What people type: the documented commands, verbatim, and every command's errors."""

import json
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tiny_settings
from made_checkpoints import tiny_checkpoint
from PIL import Image
from running import ENVIRONMENT, in_process

ROOT = Path(__file__).parents[1]
DOCUMENTED = (
    "accelerate launch ssdd/main_multiview.py -cn=SpiderEye run_name=train_enc_f8c4_1 "
    "dataset.im_size=128 training.lr=1e-4 ssdd.encoder_train=true"
)
SMALL = (
    "dataset.root=$SPIDEREYE_SHARED/panoramas dataset.im_size=64 "
    "'ssdd.decoder_image_size=[128,64]' ssdd.decoder=XS ssdd.encoder_width=32 "
    "dataset.batch_size=2 training.max_steps=3 aux_losses.lpips=false aux_losses.repa=null "
    "ssdd.compile=false training.mixed_precision=no"
)


def run(command: str, cwd: Path = ROOT, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def spidereye(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What a command does and says. Those that set up training run as processes of their own, as do
    all in the tests of the launcher; the others as functions."""
    words = ["spidereye", *map(str, arguments)]
    if words[1] in ("train", "eval", "quickstart", "distill"):
        return run(shlex.join(words), cwd)
    return in_process(words, cwd)


def one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("spidereye: ") and "Traceback" not in result.stderr, result.stderr
    assert all(word in last for word in words), last


def test_the_documented_command_says_that_there_is_no_data():
    if Path("/data/360SP-data").exists():
        pytest.skip("the documented data is here")
    result = run(DOCUMENTED)
    assert result.returncode != 0  # accelerate's own exit code; ours underneath is 2
    assert "coverage: 26.7% of the sphere" in result.stderr
    lines = [x for x in result.stderr.splitlines() if x.startswith("spidereye: ")]
    assert len(lines) == 1 and "no data at /data/360SP-data" in lines[0]
    direct = run(DOCUMENTED.replace("accelerate launch", "python"))
    one_line(direct, "no data at /data/360SP-data", "dataset.root")


@pytest.mark.slow
def test_the_documented_command_with_small_settings_trains_evaluates_and_saves(shared, tmp_path):
    result = run(f"{DOCUMENTED} {SMALL} runs_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "jobs" / "train_enc_f8c4_1"
    assert "WARNING: the views see only" in result.stderr
    entries = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [e["kind"] for e in entries] == ["train", "eval", "eval", "eval"]
    assert entries[1]["method"] == "model (ema)"
    assert (folder / "last" / "ema.safetensors").exists()
    assert list((folder / "tensorboard").rglob("events*"))
    checkpoint = f"task=eval ssdd.checkpoint={folder}/last evaluation.protocols=[clean]"
    result = run(f"{DOCUMENTED} {SMALL} runs_dir={tmp_path} run_name=e {checkpoint}")
    assert result.returncode == 0, result.stderr
    assert "(ema)" in result.stdout and (tmp_path / "jobs" / "e" / "results.json").exists()


@pytest.fixture(scope="module")
def trained_once(tiny_panoramas, tmp_path_factory):
    runs = tmp_path_factory.mktemp("trained")
    given = [*tiny_settings(tiny_panoramas, runs), "run_name=t", "training.max_steps=2"]
    result = spidereye("train", *given)
    assert result.returncode == 0, result.stderr
    return runs / "jobs" / "t"


@pytest.fixture
def trained(trained_once, tmp_path):
    return shutil.copytree(trained_once, tmp_path / "runs" / "jobs" / "t") / "last"


@pytest.fixture
def views(tmp_path):
    paths = []
    for index, name in enumerate(("front", "right", "back", "left")):
        picture = np.full((64, 64, 3), 60 * index, np.uint8)
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


def test_train_then_stitch_and_eval(trained, views, tmp_path):
    output = tmp_path / "pano.jpg"
    result = spidereye("stitch", *views, "-o", output, "--checkpoint", trained)
    assert result.returncode == 0, result.stderr
    assert "32x16" in result.stdout and "ema weights" in result.stdout
    assert "coverage: 100.0%" in result.stderr
    assert Image.open(output).size == (32, 16)
    raw = spidereye("stitch", *views, "-o", output, "--checkpoint", trained, "--weights", "raw")
    assert "raw weights" in raw.stdout
    result = spidereye("eval", trained, f"runs_dir={tmp_path}", "run_name=e", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "(ema)" in result.stdout and "stitch" in result.stdout


def test_geometric_stitch_needs_no_checkpoint(views, tmp_path):
    output = tmp_path / "pano.png"
    # A lens of about 120°, so that each axis is seen by its own view only.
    result = spidereye("stitch", *views, "-o", output, "--method", "geometric",
                       "--f-pix-size", 320, "--size", 128)  # fmt: skip
    assert result.returncode == 0, result.stderr
    picture = np.asarray(Image.open(output))
    assert picture.shape == (64, 128, 3)
    # Front in the middle, right at three quarters, back at the seam, left at a quarter.
    row = picture[32, [64, 96, 0, 32], 0]
    assert row.tolist() == [0, 60, 120, 180]
    long_lens = spidereye("stitch", *views, "-o", output, "--method", "geometric",
                          "--f-pix-size", 64)  # fmt: skip
    assert "WARNING" in long_lens.stderr


def test_views_of_a_rig_are_stitched_back(tiny_panoramas, tmp_path):
    """Two views in one file of a dual-fisheye camera, and three files of another rig."""
    panorama = next((tiny_panoramas / "val").iterdir())
    examples = Path(__file__).parents[1] / "examples" / "rigs"
    for rig, files in (
        (examples / "dual_fisheye.yaml", ["front+back"]),
        ("tri190", ["front", "right", "left"]),
    ):
        made, stitched = tmp_path / str(files[0]), tmp_path / f"{files[0]}.png"
        result = spidereye("views", panorama, "--rig", rig, "-o", made, "--quality", "training")
        assert result.returncode == 0, result.stderr
        paths = [made / f"{panorama.stem}_{name}.png" for name in files]
        result = spidereye("stitch", *paths, "-o", stitched, "--method", "geometric",
                           "--rig", rig, "--size", 64)  # fmt: skip
        assert result.returncode == 0, result.stderr
        pictures = [np.asarray(Image.open(path)).astype(float) for path in (panorama, stitched)]
        assert np.abs(pictures[0] - pictures[1]).mean() < 3


def test_a_model_that_takes_cameras_takes_any_rig(tiny_panoramas, tmp_path):
    """Views of another lens than those of the checkpoint, and one of them missing."""
    from spidereye.errors import SpiderEyeError
    from spidereye.rig import NAMED_RIGS
    from spidereye.stitch_files import stitch_files
    from spidereye.stitch_job import StitchJob
    from spidereye.view_files import render_files

    panorama = next((tiny_panoramas / "val").iterdir())
    render_files([str(panorama)], NAMED_RIGS["tri190"]().squared(64), tmp_path, "training")
    paths = [tmp_path / f"{panorama.stem}_{name}.png" for name in ("front", "right", "left")]
    spherical = tiny_checkpoint(tmp_path / "spherical")
    output, mask = tmp_path / "pano.png", tmp_path / "mask.png"
    result = spidereye("stitch", paths[0], "-", paths[2], "-o", output, "--rig", "tri190",
                       "--checkpoint", spherical, "--mask", mask)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "field of view: front 190.0°, right 190.0°, left 190.0°" in result.stderr
    assert "left: gain " in result.stderr and "turned" not in result.stderr  # as it was trained
    assert "note: right: missing; the others see 8" in result.stderr
    seen = np.asarray(Image.open(mask)) > 0
    assert 0.75 < seen.mean() < 0.9
    truth = np.asarray(Image.open(panorama)).astype(float)  # 64x32 as the model's
    assert np.abs(np.asarray(Image.open(output)) - truth)[seen].mean() < 6
    job = StitchJob([*paths, panorama], output, rig="tri190", checkpoint=str(spherical))
    plain = str(tiny_checkpoint(tmp_path / "plain", "concat_conv"))
    for wrong, words in (
        (job, "expected 3 pictures, front, right, left in this order, got 4"),
        (replace(job, checkpoint=plain, rig="spider4"), "--rig goes with --method geometric, or"),
        (replace(job, checkpoint=plain, rig=None, refine="rotation"), "geometric stitch only"),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            stitch_files(wrong)


def test_views_that_are_missing_are_left_out_and_said(views, tmp_path):
    output = tmp_path / "pano.png"
    result = spidereye("stitch", views[0], views[1], "-", views[3], "-o", output, "--method",
                       "geometric", "--f-pix-size", 320, "--size", 128)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "note: back: missing; the others see " in result.stderr
    row = np.asarray(Image.open(output))[32, [64, 96, 0, 32], 0]
    assert row[[0, 1, 3]].tolist() == [0, 60, 180] and 80 < row[2] < 160  # filled from both sides
    # Front is black, and says so; where it alone sees it stays so.
    assert "note: front: it is black; it counts only where no other view sees" in result.stderr


def test_a_model_trained_for_a_rig_takes_that_rigs_own_pictures(tiny_overrides, tmp_path):
    """Two crops of one file, larger than the model's views: the checkpoint knows the rig."""
    rig = Path(__file__).parents[1] / "examples" / "rigs" / "dual_fisheye.yaml"
    result = spidereye("train", "-cn", "SpiderEye360", *tiny_overrides, f"dataset.rig={rig}",
                       "ssdd.n_views=2", "training.max_steps=1", "run_name=dual")  # fmt: skip
    assert result.returncode == 0, result.stderr
    picture = tmp_path / "shot.png"
    Image.fromarray(np.full((96, 192, 3), 128, np.uint8)).save(picture)
    result = spidereye("stitch", picture, "-o", tmp_path / "pano.png", "--checkpoint",
                       tmp_path / "runs" / "jobs" / "dual" / "last")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "pano.png").size == (32, 16)


def test_stitch_errors(views, tmp_path):
    out = tmp_path / "pano.png"
    geometric = ("--method", "geometric")
    one_line(spidereye("stitch", *views[:3], "-o", out, *geometric), "expected 4", "got 3")
    unknown = spidereye("stitch", *views, "-o", out, *geometric, "--refine", "foo")
    one_line(unknown, "--refine takes gain or rotation", "gain,rotation", "'foo'")
    one_line(spidereye("stitch", *views, "-o", tmp_path / "pano.xyz", *geometric), "xyz")
    one_line(spidereye("stitch", *views, "-o", out, "--method", "magic"), "magic")
    one_line(spidereye("stitch", *views, "-o", out, "--checkpoint", "nowhere"), "nowhere")
    wide = tmp_path / "wide.png"
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(wide)
    one_line(spidereye("stitch", wide, *views[1:], "-o", out, *geometric), "aspect ratio", "64x32")
    one_line(spidereye("stitch", tmp_path / "no.png", *views[1:], "-o", out, *geometric), "no.png")
    assert not out.exists()


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """Four views of a procedural scene, `right` darker than the others."""
    from spidereye.scenes.scene import Scene

    folder = tmp_path_factory.mktemp("exposed")
    Image.fromarray(Scene.random(3).panorama(512)).save(folder / "scene.png")
    made = spidereye("views", folder / "scene.png", "--rig", "spider4", "-o", folder / "views",
                     "--size", 96, "--quality", "training")  # fmt: skip
    assert made.returncode == 0, made.stderr
    paths = [folder / "views" / f"scene_{name}.png" for name in ("front", "right", "back", "left")]
    picture = np.asarray(Image.open(paths[1]))
    Image.fromarray(np.rint(picture * 0.8).astype(np.uint8)).save(paths[1])
    return folder, paths


def geometric(paths, *more):
    """The stitch and its log. A lens of 187.6°, as spidereye views made them."""
    result = spidereye("stitch", *paths, "-o", paths[0].parent / "pano.png",
                       "--method", "geometric", "--size", 256, *more)  # fmt: skip
    assert result.returncode == 0, result.stderr
    picture = np.asarray(Image.open(paths[0].parent / "pano.png")).astype(float)
    return picture, result.stderr


def test_stitch_refines_and_says_what_it_found(exposed, tmp_path):
    folder, paths = exposed
    truth = np.asarray(Image.open(folder / "scene.png").resize((256, 128), Image.Resampling.BOX))
    mask = tmp_path / "masks" / "seen.png"
    plain, log = geometric(paths)
    assert "gain" not in log and "misalignment" not in log
    refined, log = geometric(paths, "--refine", "gain,rotation", "--reference-view", "front",
                             "--mask", mask)  # fmt: skip
    lines = log.splitlines()
    assert "coverage: 100.0%" in lines[0]
    assert "front: gain 1.00 1.00 1.00, offset +0 +0 +0 levels, turned 0.0°" in lines
    right = next(line for line in lines if line.startswith("right: gain "))
    assert all(abs(float(gain) - 1.25) < 0.07 for gain in right.split(",")[0].split()[2:])
    assert any(line.startswith("remaining misalignment: ") for line in lines)
    assert np.abs(refined - truth).mean() < np.abs(plain - truth).mean() / 2
    seen = np.asarray(Image.open(mask))
    assert seen.shape == (128, 256) and seen.dtype == np.uint8 and (seen == 255).all()
    # Every pixel from one view, and a longer lens that leaves the poles to be filled.
    _, log = geometric(paths, "--refine", "gain", "--blend", "none", "--f-pix-size", 320,
                       "--kernel", "bilinear", "--mask", mask)  # fmt: skip
    assert "turned" not in log and "(--mask says where)" in log
    assert set(np.unique(np.asarray(Image.open(mask)))) == {0, 255}


def test_stitch_takes_what_cameras_leave_behind(exposed, tmp_path):
    """Sixteen bits, grey, transparency, another size; a view that is black or saturated."""
    _, paths = exposed
    expected, _ = geometric(paths)
    pictures = [np.asarray(Image.open(path)) for path in paths]
    odd = [tmp_path / f"odd_{path.name}" for path in paths]
    Image.fromarray(pictures[0]).convert("RGBA").save(odd[0])
    Image.fromarray(pictures[1]).resize((192, 192), Image.Resampling.NEAREST).save(odd[1])
    cv2.imwrite(str(odd[2]), pictures[2][..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(pictures[3]).convert("L").save(odd[3])
    made, _ = geometric(odd, "--f-pix", 220, "--refine", "gain")
    grey = [expected.mean(-1)[:, part].mean() for part in (slice(32, 96), slice(160, 224))]
    assert abs(made.mean(-1)[:, 32:96].mean() - grey[0]) < 12  # left, which is grey
    assert abs(made.mean() - expected.mean()) < 12
    for level in (0, 255):
        Image.fromarray(np.full_like(pictures[1], level)).save(odd[1])
        made, log = geometric([paths[0], odd[1], *paths[2:]], "--refine", "gain,rotation")
        assert "note: right: it is black" in log
        plain, log = geometric([paths[0], odd[1], *paths[2:]])
        # What the other views show takes the place of what that one does not. Without refinement
        # black is told from what the others show, white is not.
        assert ("note: right: it is black" in log) == (level == 0)
        off = [np.abs(one - expected).mean() for one in (made, plain)]
        assert off[0] < (1.5 if level == 0 else 0.6) * off[1] and off[0] < 8


def test_eval_of_the_stitches_alone(tiny_panoramas, tmp_path):
    more = (f"dataset.root={tiny_panoramas}", "dataset.im_size=16", f"runs_dir={tmp_path}",
            "ssdd.decoder_image_size=[32,16]", "evaluation.protocols=[clean]", "run_name=s",
            "dataset.num_workers=0")  # fmt: skip
    result = spidereye("eval", "stitch", *more, "-cn", "SpiderEye")
    assert result.returncode == 0, result.stderr
    assert "stitch + gain" in result.stdout and "(ema)" not in result.stdout
    assert (tmp_path / "jobs" / "s" / "results.json").exists()
    assert "coverage: 0.4%" in result.stderr  # f_pix=220 at 16 pixels; the default sees all
    one_line(spidereye("eval", "some@best", "-cn", "SpiderEye"), "-cn and -cd go with")


def test_data_errors(tmp_path, trained):
    (tmp_path / "empty").mkdir()
    (tmp_path / "without" / "stuff").mkdir(parents=True)
    for root, words in (("empty", "train"), ("without", "stuff"), ("nowhere", "no data at")):
        one_line(spidereye("train", f"dataset.root={tmp_path / root}"), words)
    one_line(spidereye("train", "dataset.im_sise=3"), "dataset.im_size")
    one_line(spidereye("eval"), "checkpoint")
    (trained / "ema.safetensors").unlink()
    one_line(spidereye("eval", trained), "incomplete", "ema.safetensors")
    assert spidereye("fly").returncode == 2


def test_info_counts_the_built_networks():
    result = spidereye("info")
    assert result.returncode == 0, result.stderr
    for count in ("5.00", "14.06", "21.14", "50.28", "90.76", "161.27", "362.69", "34.16"):
        assert count in result.stdout
    for file in ("vgg16-397923af.pth", "alexnet", "inception"):
        assert file in result.stdout


def test_help_of_every_command():
    """With an example that is a command of ours, and the words in brackets, which markup eats."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from spidereye.cli import app

    groups = {
        name: getattr(one, "commands", None) for name, one in get_command(app).commands.items()
    }
    ways = [[name] for name, inner in groups.items() if not inner]
    ways += [[name, one] for name, inner in groups.items() for one in inner or ()]
    assert len(ways) >= 20
    for way in [[], *([name] for name in groups), *ways]:
        result = CliRunner().invoke(app, [*way, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0 and "Usage" in result.output
        if way in ways and way not in (["info"], ["doctor"]):
            # "Usage: root …" is the other place.
            assert f"spidereye {' '.join(way)}" in result.output, way
    for way in (["stitch"], ["video"], ["eval"], ["distill"], ["export"]):
        result = CliRunner().invoke(app, [*way, "--help"], env={"COLUMNS": "200"})
        assert "run_name[@best|@last]" in result.output, way


def test_doctor_fits_a_screen_and_knows_every_extra(capsys, monkeypatch):
    import tomllib

    from spidereye import doctor

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"test"}
    for name, extra in doctor.EXTRAS.items():
        listed = " ".join(project["optional-dependencies"][name])
        assert all(package in listed for package in extra.packages)
    missing = doctor.Extra(("no_such_package",), "nothing at all")
    monkeypatch.setitem(doctor.EXTRAS, "nothing", missing)
    doctor.print_doctor()
    told = capsys.readouterr().out.splitlines()
    assert len(told) <= 24 and any("100.0% of the sphere" in line for line in told)
    (line,) = [line for line in told if line.startswith("[nothing]")]
    assert "for nothing at all: pip install 'spidereye[nothing]'" in line


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_from_outside_and_resumed_by_the_same_command(tiny_overrides, tmp_path, number):
    def command(name):
        return ["spidereye", "train", *tiny_overrides, f"run_name={name}", "training.max_steps=30",
                "training.save_freq=5", "training.eval_freq=1000"]  # fmt: skip

    folder = tmp_path / "runs" / "jobs"
    process = subprocess.Popen(command("cut"), env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    state = folder / "cut" / "last" / "training.json"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130 and "saved in" in errors, errors
    assert 5 <= json.loads(state.read_text())["step"] < 30
    for name in ("cut", "whole"):
        subprocess.run(command(name), env=ENVIRONMENT, cwd=ROOT, check=True, capture_output=True)
    for file in ("raw.safetensors", "ema.safetensors"):
        cut, whole = ((folder / name / "last" / file).read_bytes() for name in ("cut", "whole"))
        assert cut == whole


@pytest.mark.slow
def test_two_processes_train_like_one(tiny_overrides, tmp_path):
    """Training and distillation: same draws, same batches, so the same weights up to the order of
    sums."""
    import torch
    from safetensors.torch import load_file

    more = "training.max_steps=4 training.eval_freq=1000"
    script = f"ssdd/main_multiview.py -cn=SpiderEye360 {shlex.join(tiny_overrides)} {more}"
    # torchrun, because accelerate's own launcher starts several CPU processes through MPI only.
    two = "ACCELERATE_USE_CPU=true python -m torch.distributed.run --nproc_per_node=2"
    runs = tmp_path / "runs" / "jobs"
    distilled = f"distill_teacher=true ssdd.checkpoint={runs}/one/last"
    for job, what in (("", ""), ("student_", distilled)):
        for launcher, name in (("python", "one"), (two, "two")):
            result = run(f"{launcher} {script} {what} run_name={job}{name}")
            assert result.returncode == 0, result.stderr
            assert ("2 processes" in result.stderr) == (name == "two")
        folders = (runs / f"{job}{name}" / "last" for name in ("one", "two"))
        ours, theirs = (load_file(folder / "raw.safetensors") for folder in folders)
        for name, value in ours.items():
            assert float((value - theirs[name]).abs().max()) < 1e-3, name
    teacher = load_file(runs / "one" / "last" / "ema.safetensors")
    assert any(not torch.equal(value, teacher[name]) for name, value in theirs.items())
    result = run(f"{two} {script} dataset.batch_size=3")
    assert result.returncode != 0 and "not divisible by their number, 2" in result.stderr


PAGES = ["README.md", *(f"docs/{name}.md" for name in ("training", "evaluation", "export", "rigs"))]
PAGES += ["docs/stitching.md", "docs/serving.md", "docs/data-flow.md", "docs/experiments.md"]


def help_of(words: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from spidereye.cli import app

    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, words
    return result.output


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_commands_options_keys_and_files_that_exist(page):
    import re

    from spidereye.config_files import config_names, load_config

    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [one for one in re.findall(r"`(spidereye [^`]+)`", text) if "…" not in one]
    for line in lines:
        if line.startswith("spidereye "):
            words = shlex.split(" ".join(line.split()), comments=True)[1:]
            command = words[:2] if words[0] in ("rig", "data") else words[:1]
            if command[-1].startswith("-") or len(words) == 1:
                command = words[:1] if not words[0].startswith("-") else []
            listed = help_of(tuple(command))
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert all(option in listed for option in options), (line, options)
    assert set(re.findall(r"-cn[ =](\w+)", text)) <= {*config_names(), "car"}
    targets = set(
        re.findall(r"`?make (\w+)", "\n".join(lines) + "".join(re.findall("`make .*?`", text)))
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in targets)
    for link in re.findall(r"\]\(([^)#]+)[)#]", text):
        if not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link).exists(), link
    sections = "dataset|ssdd|aux_losses|training|evaluation"
    for key in re.findall(rf"\b((?:{sections})\.\w+)=", text):
        section, name = key.split(".")
        assert hasattr(getattr(load_config("SpiderEye", []), section), name), key
    if page == "README.md":
        assert {"quickstart", "test", "page"} <= targets
        verbs = {line.split()[1] for line in lines if line.startswith("spidereye ")}
        assert verbs >= {"train", "eval", "distill", "stitch", "video", "export", "serve", "views"}
