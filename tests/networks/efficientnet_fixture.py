"""A state dict of EfficientNet-Lite0 with random weights, and what torch makes of it.

    pip install torch efficientnet-lite-pytorch
    python tests/networks/efficientnet_fixture.py

writes efficientnet_torch.npz: the logits of the images, and of one logit of each the gradient.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("efficientnet_torch.npz")
CLASSES = 7
# (expansion, size, features of the input, of the output) of each block
BLOCKS = [
    *[(1, 3, 32, 16), (6, 3, 16, 24), (6, 3, 24, 24), (6, 5, 24, 40), (6, 5, 40, 40)],
    *[(6, 3, 40, 80), (6, 3, 80, 80), (6, 3, 80, 80), (6, 5, 80, 112), (6, 5, 112, 112)],
    *[(6, 5, 112, 112), (6, 5, 112, 192), (6, 5, 192, 192), (6, 5, 192, 192), (6, 5, 192, 192)],
    (6, 3, 192, 320),
]


def images():
    """(2, 37, 41, 3) float32 in [0, 1]: of odd sides, where padding is uneven."""
    return np.random.default_rng(1).uniform(size=(2, 37, 41, 3)).astype("float32")


def random_state():
    """Arrays by torch's names, in float32."""
    rng = np.random.default_rng(0)
    state = {}

    def layer(prefix, conv, norm, features, channels, size):
        fan_in = channels * size**2
        shape = (features, channels, size, size)
        state[f"{prefix}{conv}.weight"] = rng.normal(scale=(2 / fan_in) ** 0.5, size=shape)
        state[f"{prefix}{norm}.weight"] = rng.uniform(0.5, 1.2, features)
        state[f"{prefix}{norm}.bias"] = rng.normal(scale=0.3, size=features)
        state[f"{prefix}{norm}.running_mean"] = rng.normal(scale=0.1, size=features)
        state[f"{prefix}{norm}.running_var"] = rng.uniform(0.05, 2, features)

    layer("", "_conv_stem", "_bn0", 32, 3, 3)
    for index, (expansion, size, channels, features) in enumerate(BLOCKS):
        prefix, wide = f"_blocks.{index}.", expansion * channels
        if expansion > 1:
            layer(prefix, "_expand_conv", "_bn0", wide, channels, 1)
        layer(prefix, "_depthwise_conv", "_bn1", wide, 1, size)
        layer(prefix, "_project_conv", "_bn2", features, wide, 1)
    layer("", "_conv_head", "_bn1", 1280, 320, 1)
    state["_fc.weight"] = rng.normal(scale=0.03, size=(CLASSES, 1280))
    state["_fc.bias"] = rng.normal(size=CLASSES)
    return {name: array.astype("float32") for name, array in state.items()}


def main():
    """Writes the file."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0", num_classes=CLASSES, image_size=None)
    state = {name: torch.tensor(array) for name, array in random_state().items()}
    found = model.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in found.missing_keys)
    model.double().eval()
    x = torch.tensor(images().transpose(0, 3, 1, 2).astype("float64"), requires_grad=True)
    logits = model((x * 255 - 127) / 128)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), x)
    rows = gradient.numpy().transpose(0, 2, 3, 1)[:, ::9, ::9]
    np.savez_compressed(FILE, logits=logits.detach().numpy(), gradient=rows)


if __name__ == "__main__":
    main()
