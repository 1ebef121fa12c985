"""Training: the loop, top to bottom.

Every random number of a step comes from (seed, epoch, sample index), so the whole state of a run
is its weights, its optimizer and a few counters: a resumed run equals an uninterrupted one.
"""

import math
import time
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from spidereye.batches import Batch, GlobalBatches, loader
from spidereye.checkpoint import is_checkpoint, save_checkpoint
from spidereye.conditions import Conditions
from spidereye.config import Config
from spidereye.config_files import config_to_dict
from spidereye.distill import Teacher
from spidereye.ema import EMA
from spidereye.errors import SpiderEyeError
from spidereye.evaluate import Evaluation, evaluate, worker_count
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.judges import Judges
from spidereye.losses import training_draws
from spidereye.metrics import METRICS
from spidereye.model import SpiderEyeModel
from spidereye.optimizer import (
    build_optimizer,
    raw_weights,
    set_learning_rate,
)
from spidereye.progress import progress
from spidereye.report import contact_sheet, result_line
from spidereye.run_log import RunLog
from spidereye.setup import (
    build_accelerator,
    build_loss,
    checkpoint_activations,
    compile_networks,
    compile_warning,
    datasets,
    freeze,
    refuse_idle_training,
    say,
    start_weights,
)
from spidereye.training_state import (
    TrainingState,
    changes,
    last_checkpoint,
    restore,
    snapshot,
    write_lost_best,
)


def train(config: Config, resume_command: str = "") -> Path:
    """Train as configured; returns the run folder.

    An existing runs/jobs/<run_name>/last is resumed. Raises SpiderEyeError for what the user can
    mend, and for a loss or gradient that is not finite (the last good checkpoint stays).
    """
    refuse_idle_training(config)
    resumed = last_checkpoint(config)
    accelerator = build_accelerator(config)
    folder = config.run_folder
    train_data, val_data, render = datasets(config, accelerator)
    rig = config.rig_of_file()
    torch.manual_seed(config.seed)
    model = SpiderEyeModel(config.model())
    teacher = Teacher.load(config) if config.distill_teacher else None
    loss = build_loss(config, model, teacher)
    state = TrainingState()
    last = folder / "last"
    if resumed is None:
        start_weights(config, model, accelerator, teacher)
    freeze(config, model)
    ema = EMA(model.to(accelerator.device), config.ssdd.ema)
    optimizer = build_optimizer(loss, config.training)
    if resumed is not None:
        state = restore(resumed, loss, ema, optimizer, config)
        say(accelerator, f"resuming {folder} at step {state.step}, epoch {state.epoch}")
        say(accelerator, changes(resumed, config, rig))
    checkpoint_activations(config, model)
    say(accelerator, compile_warning(config))
    for networks in (model, teacher.model) if teacher else (model,):
        compile_networks(config, networks)
    module, wrapped = accelerator.prepare(loss, optimizer)
    scaler = accelerator.scaler  # of gradients, in fp16
    if scaler is not None and state.scaler:
        scaler.load_state_dict(state.scaler)
    log = RunLog(folder, accelerator)
    log.start(state.step, config_to_dict(config))
    if resumed is not None and accelerator.is_main_process:
        write_lost_best(resumed, state, folder)
    judges = Judges.load(accelerator.device)

    batches = GlobalBatches(
        len(train_data),
        config.dataset.batch_size,
        config.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    accumulate = config.training.grad_accumulate
    epoch_batches = batches.batches_per_epoch // accumulate * accumulate
    if epoch_batches == 0:
        raise SpiderEyeError(
            f"{len(train_data)} training panoramas do not fill one step of dataset.batch_size="
            f"{config.dataset.batch_size} x training.grad_accumulate={accumulate}; lower them"
        )
    total = config.training.epochs * (epoch_batches // accumulate)
    total = min(total, config.training.max_steps or total)
    workers, note = worker_count(config)
    say(accelerator, note)
    if state.step >= total:
        say(accelerator, f"{folder} is already finished at step {state.step} of {total}")
        accelerator.end_training()
        return folder
    if state.batch % accumulate or state.batch >= epoch_batches:
        say(
            accelerator,
            f"what is left of epoch {state.epoch} fills no step as it is configured now",
        )
        state.epoch, state.batch = state.epoch + 1, 0
    log.describe(config_to_dict(config))
    again = f"to resume: {resume_command}" if resume_command else "the same call resumes"
    say(accelerator, f"{total} steps; Ctrl-C saves and stops; {again}")
    samples = loader(train_data, batches, workers)
    optimizer.zero_grad()
    with (
        progress("training", total, state.step, not accelerator.is_main_process) as meter,
        stop_after_step() as interrupt,
    ):
        clock = time.monotonic()
        while state.step < total:
            batches.epoch, batches.start = state.epoch, state.batch
            for raw in samples:
                batch = render.train(raw, state.epoch)
                rate = set_learning_rate(optimizer, config.training, state.step, total)
                with accelerator.accumulate(module):
                    panorama, given = batch.panorama, batch.conditions or Conditions(batch.views)
                    draws = training_draws(
                        model, batch.views, panorama, config.seed, state.epoch, batch.indices,
                        config.training.first_step,
                    )  # fmt: skip
                    terms = module(given, panorama, draws)
                    _check_finite("loss", terms, state, batch, last)
                    accelerator.backward(terms["total"])
                    if accelerator.sync_gradients:
                        clip = config.training.grad_clip
                        norm = accelerator.clip_grad_norm_(module.parameters(), clip)
                        if scaler is None:  # one leaves such a step out by itself
                            known = {"gradient": cast(Tensor, norm), **terms}
                            _check_finite("gradient", known, state, batch, last)
                    wrapped.step()
                    wrapped.zero_grad()
                _add(state, terms)
                state.batch += 1
                if not accelerator.sync_gradients:
                    continue
                if not accelerator.optimizer_step_was_skipped:
                    ema.update(raw_weights(model, optimizer))
                state.step += 1
                epoch_ended = state.batch == epoch_batches
                epoch = state.epoch
                if epoch_ended:
                    state.epoch, state.batch = state.epoch + 1, 0

                stopping = _any_process(interrupt.requested, accelerator)
                speed = config.dataset.batch_size * accumulate / (time.monotonic() - clock)
                clock = time.monotonic()
                total_loss = terms["total"].item()
                meter.advance(say=f"loss {total_loss:.4f}, {speed:.1f} samples/s")
                finished = state.step == total
                if state.step % config.training.log_freq == 0 or finished:
                    log.write(
                        "train",
                        state.step,
                        {"epoch": epoch, **_logged(state, accelerator, rate, speed)},
                    )
                if finished or _evaluation_due(config, state, epoch_ended):
                    result = evaluate(
                        config, ema.model, "model (ema)", val_data, render.clean, accelerator,
                        judges=judges,
                    )  # fmt: skip
                    better = _note_result(config, state, result, log, accelerator)
                    if accelerator.is_main_process:
                        contact_sheet(result, folder / "samples" / f"step_{state.step:08d}.png")
                        kept = snapshot(config, loss, ema, optimizer, state.scaled_by(scaler), rig)
                        # A best/ without last/ would be no run to go on with.
                        names = ["best", "last"] if is_checkpoint(last) else ["last", "best"]
                        for name in names if better else ["last"]:
                            save_checkpoint(folder / name, kept)
                    accelerator.wait_for_everyone()
                    clock = time.monotonic()  # evaluating is no training time
                elif _save_due(config, state) or stopping:
                    if accelerator.is_main_process:
                        kept = snapshot(config, loss, ema, optimizer, state.scaled_by(scaler), rig)
                        save_checkpoint(last, kept)
                    accelerator.wait_for_everyone()
                if stopping and not finished:
                    accelerator.end_training()  # trackers write what they hold
                    raise Interrupt(f"stopped at step {state.step}, saved in {last}")
                if finished or epoch_ended:
                    break
    accelerator.end_training()
    return folder


def _any_process(flag: bool, accelerator: Accelerator) -> bool:
    """Whether any process saw the flag: all must stop after the same step, or some would wait."""
    if accelerator.num_processes == 1:
        return flag
    flags = cast(Tensor, accelerator.reduce(torch.tensor(float(flag), device=accelerator.device)))
    return bool(flags.item())


def _evaluation_due(config: Config, state: TrainingState, epoch_ended: bool) -> bool:
    if config.training.eval_steps is not None:
        return state.step % config.training.eval_steps == 0
    return epoch_ended and state.epoch % config.training.eval_freq == 0


def _save_due(config: Config, state: TrainingState) -> bool:
    frequency = config.training.save_freq
    return frequency is not None and state.step % frequency == 0


def _check_finite(
    what: str, terms: dict[str, Tensor], state: TrainingState, batch: Batch, last: Path
) -> None:
    """Raises SpiderEyeError where the term is not finite, before a step that would spoil the
    weights. what: its name in words."""
    if math.isfinite(terms["total" if what == "loss" else what].item()):
        return
    values = ", ".join(f"{name}={value.item():g}" for name, value in terms.items())
    kept = f"the last good checkpoint is {last}" if is_checkpoint(last) else "none was saved yet"
    raise SpiderEyeError(
        f"the {what} is not finite at step {state.step + 1}: {values}; batch: "
        f"{', '.join(batch.names)}; {kept}; look at these files, or lower training.lr"
    )


def _add(state: TrainingState, terms: dict[str, Tensor]) -> None:
    for name, value in terms.items():
        state.sums[name] = state.sums.get(name, 0.0) + value.item()
    state.count += 1


def _logged(
    state: TrainingState, accelerator: Accelerator, rate: float, speed: float
) -> dict[str, Any]:
    """The mean terms since the last line, over all processes; starts the next window."""
    names = sorted(state.sums)
    means = torch.tensor([state.sums[name] / state.count for name in names], dtype=torch.float64)
    means = cast(Tensor, accelerator.reduce(means.to(accelerator.device), "mean")).tolist()
    state.sums, state.count = {}, 0
    return {
        **dict(zip(names, means, strict=True)),
        "lr": rate,
        "samples_per_second": speed,
    }


def _note_result(
    config: Config,
    state: TrainingState,
    result: Evaluation,
    log: RunLog,
    accelerator: Accelerator,
) -> bool:
    """Log every row and say the model's; True where it is the best so far."""
    for method, values in result.table.items():
        log.write("eval", state.step, {"protocol": result.protocol, "method": method, **values})
    model_row = next(iter(result.table.values()))
    metric = config.training.save_on_best
    note = ""
    if model_row[metric] is None:
        note = f" ({metric} cannot be computed here, so PSNR decides which checkpoint is best)"
        metric = "PSNR"
    value = model_row[metric]
    sign = 1 if METRICS[metric].higher_is_better else -1
    best = state.best.get("value") if state.best.get("metric") == metric else None
    better = value is not None and (best is None or sign * value > sign * best)
    if better:
        state.best = {"metric": metric, "value": value, "step": state.step}
    say(accelerator, f"step {state.step}: {result_line(result)}{note}")
    return better
