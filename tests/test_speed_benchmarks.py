"""What the speed benchmarks compare is the same function, and their arithmetic is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spidereye.decoder import DecoderConfig, UViT

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@torch.no_grad()
@pytest.mark.parametrize("form", ["rebuilt", "cached", "cached bf16", "published"])
def test_the_baselines_are_our_decoder(form):
    from dense_attention import make_dense, make_published

    torch.manual_seed(0)
    decoder = UViT(DecoderConfig.named("XXS"))
    for parameter in decoder.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    given = (torch.randn(1, 3, 64, 128), torch.ones(1), torch.randn(1, 4, 8, 16))
    ours = decoder(*given).velocity
    if form == "published":
        make_published(decoder)
    else:
        make_dense(decoder, cached=form != "rebuilt")
    assert "DenseAttention" in repr(decoder)
    assert ("PublishedUpsample" in repr(decoder)) == (form == "published")
    for _ in range(2):
        if form == "cached bf16":
            with torch.autocast("cpu", torch.bfloat16):
                found = decoder(*given).velocity.float()
            assert float((found - ours).norm() / ours.norm()) < 0.02
        else:
            torch.testing.assert_close(decoder(*given).velocity, ours, rtol=1e-4, atol=1e-4)


def test_exponents_and_operations_by_hand():
    from decode_tables import exponent, operations

    assert exponent({256: 1.0, 512: 4.0, 1024: 16.0}) == pytest.approx(1.0)
    assert exponent({256: 1.0, 512: 16.0, 1024: 256.0}) == pytest.approx(2.0)
    one = operations("XXS", 256, 1)
    assert operations("XXS", 256, 2) == pytest.approx(2 * one, rel=1e-3)
    # Only the time's linear layers do not grow with the pixels.
    assert operations("XXS", 512, 1) == pytest.approx(4 * one, rel=0.01)


def test_ratios_are_of_the_same_case_in_another_form(monkeypatch, capsys):
    import decode
    from decode_tables import report

    monkeypatch.setattr(decode, "has_bfloat16", lambda device: True)
    slow_forms = {"eager": 1.0, "bf16": 0.5, "cached": 3.0, "cached bf16": 2.0}
    found = []
    for case in decode.cases(["attention", "dense", "scaling"], "cpu"):
        slow = slow_forms.get(case["form"], 6.0)
        seconds = slow * (1 if case["tuned"] else 4) * (case["width"] / 1024) ** 2
        result = {"median": seconds, "seconds": [seconds], "peak_mb": 1024.0 * slow}
        if case["what"] == "attention":
            result = {"ours": [1.0, 2.0, 1.0], "dense": [9.0, 10.0, 2.0], "difference": 0.0}
        found.append({"case": case, "result": result})
    found[-1]["result"] = {"failed": "not done after 900 s"}
    ratios = report(found, rate=1e11)
    assert ratios["S 1024x512: faster than dense, bias cached"] == 3
    assert ratios["S 1024x512: faster than dense, bias cached bf16"] == 4
    assert ratios["S 1024x512: faster than dense, bias rebuilt"] == 6
    assert ratios["S 1024x512: peak memory of dense, bias rebuilt, over ours"] == 6
    assert ratios["S 1024x512: faster than published, default allocator and layout"] == 24
    assert ratios["S 1024x512: the allocator alone"] == 4
    assert ratios["S 1024x512: one attention layer, faster than dense, bias cached"] == 5
    assert ratios["S: exponent of time against pixels, 256 to 1024"] == pytest.approx(1.0)
    assert "not done after 900 s" in capsys.readouterr().out


def test_a_case_runs_by_itself_and_says_why_not(tmp_path):
    from cases import run_case

    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import json\nfrom cases import given_case\ncase = given_case()\n"
        "if case['bad']: raise SystemExit('it broke')\n"
        "print('noise'); print(json.dumps({'median': 1.5}))\n"
    )
    assert run_case(str(script), {"tuned": True, "bad": False}) == {"median": 1.5}
    failed = run_case(str(script), {"tuned": False, "bad": True})["failed"]
    assert failed == "exit status 1: it broke"


@pytest.mark.slow
def test_the_scripts_run_at_small_sizes(tmp_path):
    tiny = ["--side", "32", "--encoder-width", "16", "--decoder", "XXS", "--runs", "1"]
    small = {  # without what is compiled, which takes minutes: test_compile.py has that
        "train_step.py": [*tiny, "--rows", "ours", "ours, activations recomputed"],
        "decode.py": ["--parts", "attention"],
        "end_to_end.py": [*tiny, "--forms", "onnx"],
    }
    for script, arguments in small.items():
        out = tmp_path / f"{script}.json"
        subprocess.run(
            [sys.executable, str(BENCHMARKS / script), *arguments, "--out", str(out)], check=True
        )
        assert json.loads(out.read_text())["about"]["torch"] == torch.__version__
