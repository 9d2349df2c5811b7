"""The attack's peers: libraries on torch, on an identical network, and SciPy.

What is peculiar to a library stays here:

- adv-lib imports torchvision and visdom, for a distance and for plots that nothing here uses: where
  they are missing, empty modules take their place.
- adv-lib's DDN rounds to 256 levels unless `levels=None`; its FMN takes 10 steps and its ALMA 1,000
  by default. ALMA 100 has the settings of its authors for MNIST.
- Images of the libraries may leave [0, 1] by a rounding error: they are clipped.
- Foolbox's `attack(...)` judges the result again; `attack.run` leaves that to us.
"""

import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
import scipy.optimize

from jaxadv.networks import Network, Params

BATCH = 200  # images that torch works on side by side: on one core, more or fewer are slower;
BATCH_BYTES = 3e6  # of theirs, at most
STUBS = ("torchvision", "visdom")
BISECTIONS = 15  # of log c, by SciPy
C_RANGE = 1e-4, 1e3  # where SciPy looks for c; 15 bisections locate it to 0.05 %

Progress = Callable[[int], None]  # told the number of images that are done


class Outcome(NamedTuple):
    """What an attack made of N images."""

    x_adv: np.ndarray  # (N, …) float32 in [0, 1]
    gradients: float  # of the network, per image
    utilisation: float | None = None  # of the gradients computed, the share that was not idle


class Attack(NamedTuple):
    """A way to make adversarial images for one network, to reach a class or to leave it."""

    name: str
    run: Callable[[np.ndarray, np.ndarray, Progress], Outcome]  # (N, …) images, (N,) classes
    warm_up: Callable[[np.ndarray, np.ndarray], object]  # compiles for the same arguments
    classify: Callable[[np.ndarray], np.ndarray]  # (B, …) -> (B,) classes, by what was attacked
    images: int | None = None  # attacks at most so many


def use_threads(count: int) -> None:
    """Sets the number of torch's threads, if there is torch."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(count)


def torch_attacks(
    network: Network, params: Params, slow: bool, targeted: bool
) -> tuple[list[Attack], list[str]]:
    """The attacks of the libraries that can be imported, and why others cannot."""
    attacks, missing = [], []
    try:
        from torch_network import torch_network
    except ImportError as error:
        return [], [f"adv-lib and Foolbox ({error})"]
    model = torch_network(network, params)
    for library, collect in {
        "adv-lib": functools.partial(_adv_lib, targeted),
        "Foolbox": functools.partial(_foolbox, targeted, slow),
    }.items():
        try:
            methods = collect(model)
        except ImportError as error:
            missing.append(f"{library} ({error})")
            continue
        attacks += [_torch_attack(model, name, method) for name, method in methods.items()]
    return attacks, missing


def _adv_lib(targeted, model):
    """Name -> method (x, class) -> x_adv."""
    for name in STUBS:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = types.ModuleType(name)
            setattr(sys.modules[name], "models", None)  # noqa: B010
    from adv_lib import attacks

    def method(attack, **settings):
        return functools.partial(attack, model, targeted=targeted, **settings)

    return {
        "adv-lib PDGD 500": method(attacks.pdgd, num_steps=500),
        "adv-lib DDN 100": method(attacks.ddn, steps=100, levels=None),
        "adv-lib ALMA 100": method(
            attacks.alma, num_steps=100, distance="l2", init_lr_distance=0.1, α=0.5
        ),
        "adv-lib FMN 100": method(attacks.fmn, norm=2, steps=100),
    }


def _foolbox(targeted, slow, model):
    """Name -> method (x, class) -> x_adv."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)

    criteria = foolbox.criteria
    criterion = criteria.TargetedMisclassification if targeted else criteria.Misclassification

    def method(attack):
        return lambda x, classes: attack.run(wrapped, x, criterion(classes))

    methods = {"Foolbox DDN 100": method(foolbox.attacks.DDNAttack(steps=100))}
    if slow:
        carlini_wagner = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=1000)
        methods["Foolbox C&W 9 × 1000"] = method(carlini_wagner)
    return methods


def _torch_attack(model, name, method):
    import torch

    device = next(model.parameters()).device

    def batch_size(x):
        return min(BATCH, max(1, int(BATCH_BYTES // x[0].nbytes)))

    def to_torch(x):
        return torch.tensor(x.transpose(0, 3, 1, 2), device=device)

    def run(x, target, progress):
        gradients, parts = 0, []

        def count(gradient):
            nonlocal gradients
            gradients += len(gradient)

        def watch(_module, _inputs, logits):
            if logits.requires_grad:
                logits.register_hook(count)

        torch.manual_seed(0)
        watching = model.register_forward_hook(watch)
        size = batch_size(x)
        for start in range(0, len(x), size):
            batch = slice(start, start + size)
            classes = torch.tensor(target[batch], dtype=torch.long, device=device)
            x_adv = method(to_torch(x[batch]), classes)
            parts.append(x_adv.detach().clamp(0, 1).cpu().numpy().transpose(0, 2, 3, 1))
            progress(len(x_adv))
        watching.remove()
        return Outcome(np.concatenate(parts), gradients / len(x))

    def warm_up(x, _target):
        inputs = to_torch(x[: batch_size(x)]).requires_grad_()
        torch.autograd.grad(model(inputs).sum(), inputs)

    def classify(x):
        with torch.no_grad():
            return model(to_torch(x)).argmax(1).cpu().numpy()

    return Attack(name, run, warm_up, classify)


def scipy_attack(network: Network, params: Params, classify: Callable, images: int) -> Attack:
    """c‖r‖² + cross-entropy by SciPy's L-BFGS-B, from r = 0 for each c; the largest good c."""

    @jax.jit
    def cross_entropy(image, target):
        def loss(image):
            logits = network.logits(params, image[None])[0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, target), logits

        with jax.default_matmul_precision("highest"):  # as our attacks
            return jax.value_and_grad(loss, has_aux=True)(image)

    def minimise(c, x, target):
        """The minimiser, whether it is classified as the target, and the gradients it took."""

        def objective(flat):
            image = flat.reshape(x.shape).astype(np.float32)
            (loss, _), gradient = cross_entropy(image, target)
            r = flat - x.ravel()
            return c * r @ r + float(loss), 2 * c * r + np.asarray(gradient, np.float64).ravel()

        start = x.ravel().astype(np.float64)
        found = scipy.optimize.minimize(
            objective, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * x.size
        )
        image = found.x.reshape(x.shape).astype(np.float32)
        (_, logits), _ = cross_entropy(image, target)
        return image, int(np.argmax(logits)) == target, found.nfev

    def attack_one(x, target):
        low, high = np.log(C_RANGE)
        best, _, gradients = minimise(np.exp(low), x, target)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            image, success, evaluations = minimise(np.exp(middle), x, target)
            gradients += evaluations
            low, high = (middle, high) if success else (low, middle)
            best = image if success else best
        return best, gradients

    def run(x, target, progress):
        results = []
        for image, label in zip(x, target, strict=True):
            results.append(attack_one(image, label))
            progress(1)
        x_adv, gradients = zip(*results, strict=True)
        return Outcome(np.stack(x_adv), float(np.mean(gradients)))

    def warm_up(x, target):
        cross_entropy(x[0], target[0])

    return Attack("SciPy L-BFGS-B, singly", run, warm_up, classify, images)
