"""Strict loading of weights: exactly what a network needs, or an error that names what differs."""

from collections.abc import Mapping

from torch import Tensor, nn

from spidereye.errors import SpiderEyeError


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    remedy: str = "use the file as published",
    ignored: tuple[str, ...] = (),
    assign: bool = False,
) -> None:
    """Give the module exactly the tensors of `state`.

    source: where they come from, and remedy: what to do about a misfit, both for messages
    ignored: beginnings of keys that the module has no use for
    assign: take the tensors as they are instead of copying their values

    Raises SpiderEyeError naming what is misshapen, missing or unexpected.
    """
    own = module.state_dict()
    used = {key: value for key, value in state.items() if not key.startswith(ignored)}
    troubles = [
        f"{key} has shape {tuple(used[key].shape)} where {tuple(value.shape)} was expected"
        for key, value in own.items()
        if key in used and used[key].shape != value.shape
    ]
    troubles += [f"{key} is missing" for key in own if key not in used]
    troubles += [f"{key} is unexpected" for key in used if key not in own]
    if troubles:
        more = f" and {len(troubles) - 3} more" if len(troubles) > 3 else ""
        raise SpiderEyeError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(troubles[:3])}{more}; "
            f"{remedy}"
        )
    module.load_state_dict(used, assign=assign)
