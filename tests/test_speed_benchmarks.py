"""What the speed benchmarks compare is the same function, and their arithmetic is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from spidereye.decoder import DecoderConfig, UViT
from spidereye.precision import has_bfloat16

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@torch.no_grad()
@pytest.mark.parametrize(
    "form,half",
    [("rebuilt", False), ("cached", False), ("cached", True), ("published", False)],
)
def test_the_baselines_are_our_decoder(form, half):
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
        if half:
            with torch.autocast("cpu", torch.bfloat16):
                found = decoder(*given).velocity.float()
            assert float((found - ours).norm() / ours.norm()) < 0.02
        else:
            torch.testing.assert_close(decoder(*given).velocity, ours, rtol=1e-4, atol=1e-4)


def test_exponents_and_operations_by_hand():
    from decode_tables import decoder_operations, exponent
    from speed import operations

    assert exponent({256: 1.0, 512: 4.0, 1024: 16.0}) == pytest.approx(1.0)
    assert exponent({256: 1.0, 512: 16.0, 1024: 256.0}) == pytest.approx(2.0)
    one = decoder_operations("XXS", 256, 128, 1)
    assert decoder_operations("XXS", 256, 128, 2) == pytest.approx(2 * one, rel=1e-3)
    assert decoder_operations("XXS", 128, 128, 2) == pytest.approx(one, rel=1e-3)
    # Only the time's linear layers do not grow with the pixels.
    assert decoder_operations("XXS", 512, 256, 1) == pytest.approx(4 * one, rel=0.01)

    a, b = torch.rand(3, 5, requires_grad=True), torch.rand(5, 7, requires_grad=True)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
    assert operations(lambda: (a @ b).sum().backward()) == 3 * 2 * 3 * 5 * 7
    # Two heads: products of queries with keys, and of weights with values.
    q = torch.rand(1, 2, 11, 4)
    assert operations(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 2 * 11 * 11 * 4


def test_the_share_of_the_machine_by_hand():
    from speed import COLUMNS, cells, matrix_rates

    made = cells({"median": 0.5, "peak_mb": 2048.0}, 4, 10**9, 8e9)
    assert made == ("0.5", "8", "2.00", "1", "25%")
    assert cells({"failed": "not done after 900 s"}, 4, 10**9, 8e9)[0] == "not done after 900 s"
    assert len(made) == len(COLUMNS)
    rates = matrix_rates("cpu")
    assert ("bf16" in rates) == has_bfloat16(torch.device("cpu"))
    assert min(rates.values()) > 1e9


def _case(decode, parts, device="cpu"):
    """Every case, and a result that says how slow its form is."""
    slow_forms = {("eager", "fp32"): 1.0, ("eager", "bf16"): 0.5, ("cached", "fp32"): 3.0,
                  ("cached", "bf16"): 2.0}  # fmt: skip
    for case in decode.cases(parts, device):
        slow = slow_forms.get((case["form"], case["precision"]), 6.0)
        seconds = slow * (1 if case["tuned"] else 4) * (case["width"] / 1024) ** 2
        result = {"median": seconds, "seconds": [seconds], "peak_mb": 1024.0 * slow}
        if case["what"] == "attention":
            result = {"ours": [1.0, 2.0, 1.0], "dense": [9.0, 10.0, 2.0], "difference": 0.0}
        yield {"case": case, "result": result}


def test_ratios_are_of_the_same_case_in_another_form(monkeypatch, capsys):
    import decode
    from decode_tables import report

    monkeypatch.setattr(decode, "has_bfloat16", lambda device: True)
    found = list(_case(decode, ["attention", "dense", "scaling"]))
    found[-1]["result"] = {"failed": "not done after 900 s"}
    ratios = report(found, {"fp32": 1e11, "bf16": 1e12})
    assert ratios["S 1024x512: faster than dense, bias cached"] == 3
    assert ratios["S 1024x512: faster than dense, bias cached, both in bf16"] == 4
    assert ratios["S 1024x512: faster than dense, bias rebuilt"] == 6
    assert ratios["S 1024x512: peak memory of dense, bias rebuilt, over ours"] == 6
    assert ratios["S 1024x512: faster than published, default allocator and layout"] == 24
    assert ratios["S 1024x512: the allocator and the layout alone"] == 4
    assert ratios["S 1024x512: one attention layer, faster than dense, bias cached"] == 5
    exponent = ratios["S: exponent of time against pixels, 256 to 1024, fp32"]
    assert exponent == pytest.approx(1.0)
    assert "not done" in capsys.readouterr().out


def test_gpus_are_measured_at_the_published_size_and_others(monkeypatch, capsys):
    import decode
    from decode_tables import PUBLISHED, report

    monkeypatch.setattr(decode, "has_bfloat16", lambda device: True)
    found = list(_case(decode, decode.ON_GPUS, "cuda"))
    cases = [row["case"] for row in found]
    assert {case["precision"] for case in cases} == {"bf16"}
    sizes = {(case["size"], case["width"], case["height"], case["form"]) for case in cases}
    for size in PUBLISHED:
        for form in ("eager", "compiled"):
            assert {(size, 128, 128, form), (size, 256, 128, form), (size, 1024, 512, form)} < sizes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ratios = report(found, {"fp32": 1e11, "bf16": 1e12})
    made = 64 / (0.5 / 64)  # a batch of 64 in the time that eager takes here
    assert ratios["S 128x128: pictures a second, over the paper's 1026"] == made / 1026
    assert ratios["S: exponent of time against pixels, 256 to 2048, bf16"] == pytest.approx(1.0)
    assert decode.place("cuda", "NVIDIA H200").name == "decode_nvidia_h200.json"


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
