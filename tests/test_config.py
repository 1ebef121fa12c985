"""Named configs, overrides and errors that name the key."""

import math
from dataclasses import replace

import pytest
import yaml

from spidereye.config import Config
from spidereye.config_files import (
    config_from_dict,
    config_names,
    config_to_dict,
    load_config,
    quoted,
    readable,
)
from spidereye.errors import SpiderEyeError
from spidereye.rig import NAMED_RIGS, Rig, spider4
from spidereye.rig_files import write_rig

TRAINED = ["ssdd.encoder_train=true"]


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_documented_key_has_its_documented_value(shared):
    text = (shared / "SpiderEye.reference.yaml").read_text(encoding="utf-8")
    documented = yaml.safe_load(text.replace("<date>/<time>", "null"))
    ours = dict(leaves(config_to_dict(load_config("SpiderEye", []))))
    for key, value in leaves(documented):
        assert key in ours, key
        # YAML 1.1 reads 1.0e-4 as a number but 1e-4 as text; both mean the number.
        assert ours[key] == value, key


def test_named_configs():
    assert set(config_names()) == {
        "SpiderEye", "SpiderEye360", "SpiderEye360-small", "SpiderVideo", "quickstart",
    }  # fmt: skip
    assert load_config("SpiderEye360", []).dataset.f_pix_size == 560
    assert float(load_config("SpiderEye360", []).rig().cameras[0].lens.f) == pytest.approx(50.2857)
    assert float(load_config("SpiderEye", []).rig().cameras[0].lens.f) == 220
    assert load_config("quickstart", []).dataset.type == "scenes"
    source = load_config("SpiderVideo", ["dataset.video_root=/videos"]).source()
    assert (source.type, source.root, source.frame_interval) == ("video", "/videos", 24)
    assert load_config("SpiderEye360", ["dataset.video_root=/videos"]).source().root != "/videos"


def test_configs_survive_the_checkpoint():
    config = load_config("SpiderEye360", ["dataset.im_size=64", "ssdd.decoder_image_size=[128,64]"])
    saved = yaml.safe_load(yaml.safe_dump(config_to_dict(config)))
    assert config_from_dict(saved, []) == config
    assert config_from_dict(saved, ["training.lr=1e-3"]).training.lr == 1e-3
    with pytest.raises(SpiderEyeError, match="learning_rate"):
        config_from_dict(saved, ["training.learning_rate=1"])
    with pytest.raises(SpiderEyeError, match=r"training\.lr"):
        config_from_dict(saved, ["training.lr=fast"])


def test_a_config_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("defaults: [SpiderEye, _self_]\ntraining: {lr: 0.5}\n")
    assert load_config("mine", [], str(tmp_path)).training.lr == 0.5


@pytest.mark.parametrize(
    "override,words",
    [
        ("ssdd.encodr=f8c4", r"unknown key 'ssdd\.encodr'; did you mean ssdd\.encoder\?"),
        ("training.lr=fast", r"training\.lr: .*'fast'"),
        ("dataset.im_size=1.5", r"dataset\.im_size"),
        ("ssdd.decoder_image_size=[a,b]", r"ssdd\.decoder_image_size"),
        ("dataset.im_size=60", r"dataset\.im_size=60 is not divisible by 8.*64"),
        ("dataset.im_size=64", r"dataset\.im_size=64 needs ssdd\.decoder_image_size=\[128,64\]"),
        ("ssdd.decoder_image_size=[256,100]", "W = 2H"),
        ("ssdd.decoder_image_size=[256,128,3]", "W = 2H"),
        ("ssdd.decoder=XXL", "XS, S, B, M, L, XL, H"),
        ("ssdd.encoder=f7c4", "f8c4"),
        ("ssdd.encoder_width=33", "multiple of 32"),
        ("ssdd.unseen=grey", "ssdd.unseen takes model or expected"),
        ("ssdd.unseen=expected", r"unseen=expected goes with ssdd\.prior=stitch"),
        ("ssdd.encoder_side=256", r"encoder_side goes with ssdd\.fusion_type=spherical"),
        ("dataset.rig_variety=0.5", r"rig_variety=0\.5 needs ssdd\.fusion_type=spherical"),
        ("dataset.degradation=2", r"dataset\.degradation is a share"),
        ("dataset.cameras.blur=-1", r"dataset\.cameras\.blur must not be negative"),
        ("dataset.cameras.vignetting=1", r"dataset\.cameras\.vignetting must lie in"),
        ("dataset.cameras.jpeg_quality=0", r"dataset\.cameras\.jpeg_quality is 1 to 100"),
        ("ssdd.fusion_type=best", "concat_conv, average"),
        ("ssdd.view_encoding_type=none", "sinusoidal, learnable, directional"),
        ("ssdd.compile=maybe", "true, false, auto"),
        ("ssdd.n_views=3", r"ssdd\.n_views=3.*4 views"),
        ("dataset.rig=nowhere.yaml", "nowhere.yaml is neither a rig file nor a named rig"),
        ("dataset.rig=dual190", r"the rig dual190 has 2 views; set ssdd\.n_views=2"),
        ("dataset.mask_mode=round", "inscribed, diagonal, none"),
        ("dataset.return_all_views=false", r"dataset\.return_all_views"),
        ("dataset.batch_size=0", r"dataset\.batch_size must be greater than 0"),
        ("training.cooldown=-1", r"training\.cooldown must not be negative"),
        ("aux_losses.repa.i_extract=7", r"i_extract=7: decoder M takes 1 to 6"),
        ("ssdd.sphere_radii=[[1]]", r"ssdd\.sphere_radii: expected list\[float\], got \[\[1\]\]"),
        ("evaluation.steps=[[1]]", r"evaluation\.steps: expected list\[int\], got \[\[1\]\]"),
        ("evaluation.steps=${seed}", r"evaluation\.steps: expected list\[int\], got 0"),
        ("dataset.off_centre=${seed}", r"dataset\.off_centre: expected list\[float\], got 0"),
        ("ssdd.ema=${seed}", r"ssdd\.ema: expected keys of its own, got 0"),
        ("aux_losses.repa=${ssdd.ema}", r"aux_losses\.repa: expected keys of its own, got {'decay"),
        ("dataset.im_size=0", r"dataset\.im_size must be greater than 0"),
        ("dataset.f_pix=0", r"dataset\.f_pix must"),
        ("dataset.xi=-0.5", r"dataset\.xi must not be negative"),
        ("dataset.xi_jitter=1.5", r"dataset\.xi_jitter"),
        ("seed=-1", "seed must not be negative"),
        ("dataset.num_workers=-1", r"dataset\.num_workers"),
        ("training.optimizer=sgd", "adamw, radam_schedulefree"),
        ("training.save_on_best=beauty", "PSNR"),
        ("evaluation.protocols=[rain]", "clean, jitter, jitter_reference, parallax"),
        ("run_name=../x", "run_name=../x has to be a name below runs/jobs"),
        ("run_name=''", "has to be a name below runs/jobs"),
        ("run_name=a@b", "without .., / and @"),
        ("ssdd.compile=1", r"ssdd\.compile must be one of true, false, auto, got 1"),
        ("seed=9223372036854775808", r"seed has to be below 2\^63"),
        ("evaluation.protocols=clean", r"expected a list, as evaluation.protocols=\["),
        ("evaluation.protocols=[]", "empty; choose of clean, jitter, jitter_ref"),
        ("evaluation.refine=[gain,tint]", r"evaluation\.refine\[1\] must be one of gain, rotation"),
        ("evaluation.refine=[gain,gain]", "twice: gain, gain"),
        ("evaluation.parallax_scenes=0", r"evaluation\.parallax_scenes must be greater"),
        ("distill_teacher=true", "distill_teacher"),
        ("task=play", "train, eval"),
        ("+new=1", "key=value"),
        ("ssdd.decoder_image_size=[0,0]", r"with W = 2H > 0, got \[0, 0\]"),
        ("ssdd.decoder_image_size=[-64,-32]", r"with W = 2H > 0, got \[-64, -32\]"),
        ("dataset.xi=inf", r"dataset\.xi must be finite, got inf"),
        ("dataset.f_pix=inf", r"dataset\.f_pix must be finite"),
        ("dataset.rotation_jitter=nan", r"dataset\.rotation_jitter must be finite, got nan"),
        ("dataset.cameras.blur=nan", r"dataset\.cameras\.blur must be finite"),
        ("dataset.off_centre=[0,inf]", r"dataset\.off_centre must be finite, got \[0\.0, inf\]"),
        ("losses.kl=nan", r"losses\.kl must be finite"),
        ("training.weight_decay=nan", r"training\.weight_decay must be finite"),
        ("ssdd.sphere_radii=[nan]", r"sphere_radii are one or more metres above 0"),
        ("dataset.shards_train=/", r"dataset\.shards_train='/' names no shard"),
        ("dataset.shards_val=", r"dataset\.shards_val='' names no shard"),
        ("training.trackers=[ä]", r"quote what has other signs"),
        ("nonsense", "nonsense"),
    ],
)
def test_what_cannot_work_is_one_line_that_names_the_key(override, words):
    with pytest.raises(SpiderEyeError, match=words) as caught:
        load_config("SpiderEye", [override])
    assert "\n" not in str(caught.value)


def test_a_schedule_free_optimizer_needs_no_cooldown():
    given = ["training.optimizer=radam_schedulefree", "training.cooldown=10"]
    with pytest.raises(SpiderEyeError, match=r"training\.cooldown=10 goes with .*adamw"):
        load_config("SpiderEye", given)
    assert load_config("SpiderEye", given[1:]).training.cooldown == 10  # max_steps or epochs end it


def test_references_to_what_fits_are_followed():
    """And REPA's default block goes with every decoder: a shallow one is read at half its depth."""
    given = [
        "training.lr=${ssdd.ema.decay}",
        "evaluation.refine=${ssdd.refine}",
        "training.warmup=2",
    ]
    config = load_config("SpiderEye", [*given, "ssdd.refine=[gain]", "ssdd.decoder=XXS"])
    assert config.training.lr == 0.999 and config.evaluation.refine == ["gain"]
    assert config.model().decoder.extract == 2
    with pytest.raises(SpiderEyeError, match=r"i_extract=9: decoder XXS takes 1 to 4"):
        load_config("SpiderEye", ["ssdd.decoder=XXS", "aux_losses.repa.i_extract=9"])


@pytest.mark.parametrize(
    "override,words",
    [
        ("ssdd.fusion_hidden_dim=30", r"fusion_hidden_dim is a multiple of 4, its heads; got 30"),
        ("ssdd.prior_sigma=1", r"unseen=expected goes with ssdd\.prior_sigma below 1, got 1"),
    ],
)
def test_what_cannot_work_in_spidereye360(override, words):
    given = ["ssdd.unseen=expected"]
    assert load_config("SpiderEye360", given).ssdd.unseen == "expected"
    with pytest.raises(SpiderEyeError, match=words):
        load_config("SpiderEye360", [*given, override])


@pytest.mark.parametrize("size", ["[0,0]", "[-64,-32]"])
def test_a_spherical_panorama_has_a_size_too(size):
    with pytest.raises(SpiderEyeError, match="W = 2H > 0"):
        load_config("SpiderEye360", [f"ssdd.decoder_image_size={size}"])


def test_parts_of_what_is_null_are_named():
    """OmegaConf fails an assertion on them."""
    saved = config_to_dict(load_config("quickstart", []))
    for override in ("aux_losses.repa.n_layers=3", "aux_losses.repa={n_layers:3}"):
        for made in (
            lambda: load_config("quickstart", [override]),  # noqa: B023
            lambda: config_from_dict(saved, [override]),  # noqa: B023
        ):
            with pytest.raises(SpiderEyeError, match=r"aux_losses\.repa is null here") as caught:
                made()
            assert str(caught.value).startswith(override)
    with pytest.raises(SpiderEyeError, match=r"aux_losses\.repa is null here"):
        load_config("SpiderEye", ["aux_losses.repa=null", "aux_losses.repa.n_layers=3"])


@pytest.mark.parametrize(
    "value", ["w/dä", "a=b", "~/it's", "C:\\x(1)", "a#b;c\\", "s-{000..012}.tar?x=1&y"]
)
def test_values_that_hydras_grammar_does_not_know_are_taken_as_they_are(value):
    saved = config_to_dict(Config())
    for config in (
        load_config("SpiderEye", [f"dataset.root={value}"]),
        load_config("SpiderEye", [f"dataset.root={quoted(value)}"]),
        config_from_dict(saved, [f"dataset.root={value}"]),
    ):
        assert config.dataset.root == value
    assert readable("dataset.root=${oc.env:HOME}") == "dataset.root=${oc.env:HOME}"
    assert readable("ssdd.compile=true") == "ssdd.compile=true"


def test_little_coverage_is_told_by_what_decides_it(tmp_path):
    from spidereye.config_checks import coverage_warning
    from spidereye.coverage import coverage

    front, _, back, _ = spider4(220.0, 0.85, 560).cameras
    narrow = tuple(replace(camera, circle=150.0) for camera in (front, back))
    write_rig(Rig(narrow), tmp_path / "two.yaml")
    config = load_config("SpiderEye", [f"dataset.rig={tmp_path}/two.yaml", "ssdd.n_views=2"])
    told = coverage_warning(config, coverage(config.rig()))
    assert told is not None and "f_pix" not in told and f"rig check {tmp_path}/two.yaml" in told
    documented = load_config("SpiderEye", [])
    told = coverage_warning(documented, coverage(documented.rig()))
    assert told is not None and "dataset.f_pix=220 is too long a lens" in told


def test_the_reference_view_is_one_of_the_rig_where_a_protocol_has_one():
    given = ["dataset.rig=tri190", "ssdd.n_views=3", "evaluation.reference_view=back"]
    assert load_config("SpiderEye", given).evaluation.reference_view == "back"
    with pytest.raises(SpiderEyeError, match=r"reference_view=back .* front, right, left"):
        load_config("SpiderEye", [*given, "evaluation.protocols=[jitter,jitter_reference]"])


def test_a_rig_file_gives_square_views_of_im_size(tmp_path):
    write_rig(NAMED_RIGS["tri190"](), tmp_path / "mine.yaml")
    config = load_config("SpiderEye", [f"dataset.rig={tmp_path}/mine.yaml", "ssdd.n_views=3"])
    assert [camera.lens.width for camera in config.rig().cameras] == [128] * 3
    assert float(config.rig().cameras[1].axis[0]) == pytest.approx(math.sin(math.radians(120)))
    assert config.model().fusion.axes[0] == [0, 0, 1]
    in_file = config.rig_of_file()
    assert in_file is not None and in_file.cameras[0].lens.width == 1024


def test_unknown_config_lists_the_known():
    with pytest.raises(
        SpiderEyeError, match="SpiderEye, SpiderEye360, SpiderEye360-small, SpiderVideo, qu"
    ):
        load_config("Spider", [])


def test_a_folder_of_the_users_own_configs(tmp_path):
    """Their defaults are ours; and ours can be named beside them."""
    car = "defaults: [SpiderEye360, _self_]\ndataset: {root: here}\n"
    (tmp_path / "car.yaml").write_text(car, encoding="utf-8")
    config = load_config("car", ["dataset.batch_size=4"], str(tmp_path))
    assert (config.dataset.root, config.dataset.batch_size) == ("here", 4)
    assert config.ssdd.fusion_type == "spherical"
    assert load_config("quickstart", [], str(tmp_path)).dataset.type == "scenes"
    with pytest.raises(SpiderEyeError, match=r"no config named 'cat'; there are .*, car, quickst"):
        load_config("cat", [], str(tmp_path))
    with pytest.raises(SpiderEyeError, match=r"/nowhere' exists"):
        load_config("car", [], str(tmp_path / "nowhere"))


def test_defaults_are_the_documented_config():
    assert load_config("SpiderEye", []) == Config()
