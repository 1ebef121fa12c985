"""`spidereye data …`: check, split, measure, pack, make and fetch panoramas."""

import typer

data_app = typer.Typer(no_args_is_help=True, help="Prepare panoramas for training.")
