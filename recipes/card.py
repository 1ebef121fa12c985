"""The model card of released weights, README.md in their folder: data, licences, recipe, metrics.

python recipes/card.py spidereye/released/NAME --data <panoramas> --steps <in words>
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from licences import Row, training_rows

from spidereye.config_files import config_from_dict
from spidereye.model import build_on_meta, parameter_count
from spidereye.whole_files import write_whole


def card(folder: Path, rows: list[Row], results: dict[str, Any], commit: str, steps: str) -> str:
    """The text of card.md, filled in.

    results: the JSON of benchmarks/results.py.   commit: that trained the weights.   steps: of
    training, in words.
    """
    config = config_from_dict(yaml.safe_load((folder / "config.yaml").read_text()), [])
    ssdd, (width, height) = config.ssdd, config.panorama_size
    told = {True: "file name", False: "its source"}
    lines = [f"| {row.file} | {row.source} | {told[row.by_name]} |" for row in rows]
    return (
        (Path(__file__).parent / "card.md")
        .read_text(encoding="utf-8")
        .format(
            name=folder.name,
            millions=parameter_count(build_on_meta(config.model())) / 1e6,
            megabytes=(folder / "ema.safetensors").stat().st_size / 2**20,
            encoder=ssdd.encoder,
            encoder_width=ssdd.encoder_width,
            fusion=ssdd.fusion_type,
            decoder=ssdd.decoder,
            side=config.dataset.im_size,
            width=width,
            height=height,
            panoramas=len(rows),
            by_name=sum(row.by_name for row in rows),
            commit=commit,
            steps=steps,
            bars="\n".join(f"| {' | '.join(row)} |" for row in results["reached"]),
            table="\n".join(lines),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/results.json"))
    parser.add_argument("--steps", required=True, help="of training, in words")
    parser.add_argument("--commit", help="that trained them; default: the one checked out")
    arguments = parser.parse_args()
    try:
        rows = training_rows(arguments.data)
        results = json.loads(arguments.results.read_text(encoding="utf-8"))
        commit = arguments.commit or _commit()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    text = card(arguments.folder, rows, results, commit, arguments.steps)
    write_whole(arguments.folder / "README.md", text)
    print(f"written: {arguments.folder / 'README.md'}")


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
