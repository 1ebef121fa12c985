"""A program: three compiled training steps, and what Dynamo counted, as JSON.

By itself, because the shape checks of the tests are wrapped round every function, and Dynamo cannot
trace those. Dynamo does its whole work here; only the code that would come out of it is left out,
which would take minutes to generate. Argument: the fusion.
"""

import json
import sys

import torch
from made_checkpoints import tiny_config
from torch._dynamo.utils import counters

from spidereye.export import sample_shot
from spidereye.losses import Draws, LossWeights, TrainingLoss
from spidereye.model import SpiderEyeModel, posterior_shape
from spidereye.setup import checkpoint_activations

config = tiny_config(sys.argv[1])
config.training.checkpoint_activations = "recompute" in sys.argv
torch.manual_seed(0)
model = SpiderEyeModel(config.model())
checkpoint_activations(config, model)
given, noise = sample_shot(config)
loss = TrainingLoss(model, LossWeights())
latent = posterior_shape(config.model(), 4, 32)
draws = Draws(torch.rand(1), torch.randn_like(noise), torch.randn(1, *latent))
plain = loss(given, noise, draws)["total"].item()
model.compile_networks(backend="eager")
difference = abs(loss(given, noise, draws)["total"].item() - plain)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for _ in range(3):
    draws = Draws(torch.rand(1), torch.randn_like(noise), torch.randn(1, *latent))
    loss(given, torch.rand_like(noise), draws)["total"].backward()
    optimizer.step()
    optimizer.zero_grad()
told = {
    "graphs": counters["stats"]["unique_graphs"],
    "breaks": list(counters["graph_break"]),
    "recompiles": sum(counters["recompiles"].values()),
    "difference": difference,
}
print(json.dumps(told))
