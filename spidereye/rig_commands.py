"""`spidereye rig …`: look at, convert and guess rigs."""

import typer

rig_app = typer.Typer(no_args_is_help=True, help="Look at, convert and guess rigs.")
