"What curvature is compared with: whole matrices by plain PyTorch, and seeded vectors."

import torch
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.kernels.gradients import _Output
from lensllm.models.batches import sequence_loss
from torch.nn.attention import SDPBackend, sdpa_kernel


def seeded(seed=0):
    "A generator with this seed."
    return torch.Generator().manual_seed(seed)


def random_vectors(P, k=2, seed=0):
    "k normal vectors in double precision, (P, k)."
    return torch.randn(P, k, dtype=torch.float64, generator=seeded(seed))


def relative_distance(a, b):
    "Length of a - b over the length of b."
    return float((a - b).norm() / b.norm())


def small_model_and_batch(arch, padding="right", **config):
    "A model of a few hundred parameters in double precision, and five rows for it."
    model = tiny_model(arch, seed=0, layers=1, width=4, vocab=16, **config).double()
    batch = tiny_batch(n=5, tokens=6, seed=0, vocab=16, padding=padding, prompt=1)
    return model, batch


def flat_parameters(model):
    "All parameters as one vector, (P,)."
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def output_of_flat(model, f, batch):
    "The outputs f of the batch, as a function of one flat vector of all parameters."
    params = dict(model.named_parameters())
    sizes = [p.numel() for p in params.values()]

    def outputs(flat):
        parts = zip(params.items(), flat.split(sizes))
        values = {f"model.{name}": part.view(p.shape) for (name, p), part in parts}
        return torch.func.functional_call(_Output(model, f), values, (batch,))

    return outputs


def dense_hessian(model, batch):
    "The whole Hessian of the mean loss, from the untouched model and PyTorch's own cross-entropy."
    losses = output_of_flat(model, sequence_loss, batch)
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(
            lambda flat: losses(flat).mean(), flat_parameters(model)
        )
