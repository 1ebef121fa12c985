"""Compiled training has no graph breaks, does not compile again, and says where it is of no use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_checkpoints import tiny_config

from spidereye.setup import compile_warning

PROGRAM = Path(__file__).with_name("compiled_steps.py")


@pytest.mark.parametrize("arguments", [["spherical"], ["concat_conv"], ["spherical", "recompute"]])
def test_three_steps_are_three_graphs(arguments):
    made = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    told = json.loads(made.stdout.splitlines()[-1])
    # Encoder, fusion and decoder: one graph each.
    assert told["graphs"] == 3 and told["breaks"] == [] and told["recompiles"] == 0, told
    assert told["difference"] < 1e-5


@pytest.mark.parametrize("wanted, gpu, told", [
    (True, False, True), (True, True, False), ("auto", False, False), (False, False, False),
])  # fmt: skip
def test_compiling_without_a_gpu_is_warned_of(monkeypatch, wanted, gpu, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = tiny_config("average")
    config.ssdd.compile = wanted
    assert (compile_warning(config) is not None) == told
