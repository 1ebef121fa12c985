"""FlexAttention's form of local attention is the blocked one, and is used where it can be."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from spidereye import attention, flex_windows
from spidereye.attention import REACH, LocalAttention

PROGRAM = Path(__file__).with_name("flex_forms.py")


def test_it_is_the_blocked_form_and_its_mask_is_kept_and_sparse():
    made = subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr[-2000:]
    told = json.loads(made.stdout.splitlines()[-1])
    assert len(told["forms"]) == 6
    for difference, spread in told["forms"]:
        assert difference < 1e-5 and spread > 0.05
    # Of 64 tiles each query's sees at most 3 by 3; 5 in a row where windows cross a pole.
    assert told["kept"] and told["placed"] and told["sparse"] > 80


def test_spheres_on_which_a_cell_is_in_a_window_twice_are_left_to_blocks():
    assert flex_windows.is_possible(17, 21, REACH, "zeros")
    assert flex_windows.is_possible(16, 32, REACH, "sphere")
    assert not flex_windows.is_possible(8, 16, REACH, "sphere")
    assert not flex_windows.is_possible(14, 44, REACH, "sphere")
    assert flex_windows.is_possible(8, 16, REACH, "zeros")


def test_on_cpus_it_is_not_used(monkeypatch):
    monkeypatch.setattr(attention.flex_windows, "attend", None)
    assert LocalAttention(32, 2, "sphere")(torch.rand(1, 16, 32, 32)).shape == (1, 16, 32, 32)
