"""What a run leaves behind while it works: config.yaml, metrics.jsonl and the trackers.

Every line of metrics.jsonl has a step. On resuming, lines after the checkpoint's step are cut off
and will be written again, so the file has neither holes nor double entries.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from spidereye.errors import SpiderEyeError
from spidereye.whole_files import unwritable, write_whole

PROJECT = "spidereye"  # of the trackers, which tell its runs apart by their names


class RunLog:
    """Writes the configuration, appends to metrics.jsonl and to the configured trackers, on the
    main process only."""

    def __init__(self, folder: Path, accelerator: Accelerator):
        self.path = folder / "metrics.jsonl"
        self.accelerator = accelerator

    def start(self, step: int, config: dict[str, Any]) -> None:
        """Cut the file back to `step` and open the trackers."""
        if self.accelerator.is_main_process:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                truncate(self.path, step)
            except OSError as error:
                raise unwritable(self.path, error) from error
        names = [getattr(tracker, "name", str(tracker)) for tracker in self.accelerator.log_with]
        run = {"name": self.path.parent.name}
        options = {"tensorboard": {"purge_step": step + 1}, "wandb": run, "trackio": run}
        options = {name: some for name, some in options.items() if name in names}
        try:
            self.accelerator.init_trackers(PROJECT, flat(config), options)
        except ImportError as error:
            raise no_tracker(names, str(error)) from error

    def describe(self, config: dict[str, Any]) -> None:
        """Write config.yaml beside metrics.jsonl, as checkpoints have it: of what runs now."""
        if self.accelerator.is_main_process:
            text = yaml.safe_dump(config, sort_keys=False)
            write_whole(self.path.with_name("config.yaml"), text)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """One line; numbers also go to the trackers as kind/name."""
        if not self.accelerator.is_main_process:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error
        numbers = {
            f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.accelerator.log(numbers, step=step)


def no_tracker(names: Sequence[str], why: str) -> SpiderEyeError:
    """The error for configured trackers of which one cannot be had."""
    return SpiderEyeError(
        f"training.trackers=[{','.join(names)}]: {why}; pip install 'spidereye[wandb]' or "
        "'spidereye[trackio]', or set training.trackers=[tensorboard]"
    )


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl, oldest first, without a last line that a crash cut short."""
    entries = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return entries


def truncate(path: Path, step: int) -> None:
    """Keep the entries up to `step`, atomically."""
    if not path.exists():
        return
    kept = [json.dumps(entry) + "\n" for entry in read_log(path) if entry["step"] <= step]
    write_whole(path, "".join(kept))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested containers as {"a.b": "value"}, which every tracker can show."""
    items: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = str(value)
    return items
