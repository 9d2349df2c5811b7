"""The numbers that the lockstep attack was tuned with, and what each is worth."""

from typing import NamedTuple


class Tuning(NamedTuple):
    """Every number of the attack that is no setting of the user's.

    "FC −0.10, +0.20 (−3, +5)": halved, a number changes the mean distortion on FC123-456-10 by
    −0.10 %, and the gradients by −3 %; doubled, by 0.20 and 5 %. By benchmarks/sensitivity.py, on
    400 images, and on 32 for LeNet-5, where intervals are about ±0.8 %, and one image may move the
    mean by 0.3 %. A network that is not named does not change.
    """

    # The gap at x
    least_gap: int = 16
    """In leads that rounding hides, taken for smaller ones."""

    # Descents
    armijo: float = 1e-4
    """Of the slope, what a step must gain."""
    shrink: tuple[float, float] = (0.1, 0.5)
    """Factors by which a refused step is shortened, at most and at least. LeNet-5 −0.01, −0.01 (+1,
    +1)."""
    shortest_step: float = 1e-3
    """A descent ends before one that is shorter."""
    coarse: float = 3e-4
    """Tolerance of the coarse descent, where that asked for is smaller. LeNet-5 +0.02, +0.02 (+1,
    0)."""

    # Sequential quadratic programming
    hot: float = 0.12
    """Temperature at first, of the gap at x. FC −0.01, −0.01 (0, +2)."""
    smooth_temperature: float = 0.02
    """At the end. FC +0.01, −0.01 (−2, +7)."""
    cooling: float = 0.5
    """Factor by which it falls from step to step. FC 0, +0.10 (+4, +482)."""
    exact: float = 1.2
    """Weight of what is missing to the boundary, in units of the multiplier. FC +0.12, 0 (+293,
    +10)."""
    shortened: float = 0.5
    """Factor by which a refused step is shortened. FC −0.01, +0.02 (+6, +96)."""
    multiplier: float = 4.0
    """Factor by which c may differ from that for which c|r| + loss is stationary along r. FC 0, 0
    (+1, −1)."""
    power: float = 0.4
    """The exponent of the tolerance, in what follows. FC +0.28, +0.08 (−34, +137)."""
    small: float = 0.017
    """Share of ‖r‖² that the square of the last step may have, times the tolerance to that power.
    FC 0, 0 (+2, −6)."""
    flat: float = 3.0
    """Times as much, relative to c‖r‖², is what it may gain. FC 0, 0 (0, −1)."""
    residual: float = 0.3
    """Relative to c‖r‖: the objective's projected gradient where it began, at most."""
    near: float = 0.003
    """Of the gap at x: what may be missing to the boundary."""
    agreement: float = 0.048
    """Of the gap at x: what log Σ exp may round off, times the same. FC −0.01, +0.01 (+4, −4)."""
    least_share: float = -3.5
    """Logarithm of the share that a class has in the gap, at least. FC +0.03, 0 (−6, 0)."""
    strict_steps: int = 30
    """Gradients after which tolerances grow, tenfold in ten gradients. FC +0.03, +0.03 (−4, +8)."""
    sqp_steps: int = 40
    """Gradients after which descents follow. FC +0.08, 0 (+86, −1)."""
    refusals: int = 7
    """Steps refused in the first attack, after which it is asked again whether the boundary is
    smooth. FC 0, 0 (+4, −2); on small networks with ReLU, docs/method.md."""
    too_far: float = 2.5
    """Times as far as the boundary would be, were the logits linear: descents follow. FC 0, 0 (+8,
    0)."""

    # Search over c, by the probability of the other classes: ½ on a boundary of two
    aim: float = 0.45
    """Probability that c is to give. FC 0, 0 (+1, 0); LeNet-5 +0.04, +0.76 (+13, +8)."""
    least_others: float = 1e-3
    """Taken for smaller ones, in predictions of c."""
    on_boundary: float = 0.3
    """From ½, up to which a minimiser is as good as on the boundary. LeNet-5 −0.01, +0.02 (−1,
    0)."""
    far: float = 0.95
    """Probability above which it says little about c. LeNet-5 −0.06, +0.02 (+3, 0)."""
    least_change: float = 1.1
    """Factor by which c changes, at least, until bracketed. FC 0, 0 (0, +1); LeNet-5 +0.11, −0.06
    (+1, +1)."""
    inset: float = 0.1
    """Share of the bracket of log c, at each end, that predictions are kept out of."""
    bisect_every: int = 3
    """Values of c, one of which bisects the bracket, lest one end never moves."""
    stuck: int = 3
    """Values of c without a success after which the temperature rises."""
    patience: int = 3
    """Times as many values of c while there is no success at all."""

    # Polishing
    polishing: tuple[int, int] = (2, 6)
    """Newton steps on the ray to the boundary, at least, and until one succeeds. FC 0, 0 (+6,
    +9)."""
    beyond: float = 1e-5
    """Of the gap, by how much a step is to lead beyond the margin, unless that is smaller. FC 0, 0
    (+2, 0)."""
    longest_on_ray: float = 0.1
    """Of r, how far such a step goes at most."""
    tangential: float = 1.01
    """Times as far as the point that steps settled at: the ray is all but tangential to the
    boundary, and descents follow. FC +0.06, 0 (+215, 0)."""
    least_part: float = 1e-6
    """Of the gap's gradient, taken for smaller ones."""
    least_growth: float = 1e-12
    """Of the margin along r, taken for smaller ones."""

    # A second attack
    hard: int = 70
    """Gradients after which a problem was hard. FC +0.08, 0 (+2, 0); LeNet-5 −0.01, 0 (+2, −1)."""
    hopeless: float = 1.01
    """A second attack whose distortion comes out so much larger than the first's ends. FC +0.01, 0
    (−1, +2); LeNet-5 0, −0.01 (0, +2)."""
    far_rms: float = 0.08
    """Root mean square of r from which a problem is attacked again, if steps settled. FC 0, +0.05
    (+16, −10), on 3,000 images, as in the next three."""
    far_gradients: int = 22
    """Gradients of the first attack from which it is: on linear boundaries there are fewer. FC 0,
    +0.05 (+3, −9)."""
    far_attacks: int = 3
    """On such a problem, in all; 2 or 6: FC +0.01, −0.01 (−5, +14)."""
    near_known: float = 0.3
    """Of ‖r‖: how near to what is known such an attack is over. FC 0, +0.03 (+4, −5)."""
    scattered: int = 2
    """Points that are averaged to begin one more, where the boundary is smooth. FC +0.05, +0.05
    (−2, 0)."""
    scattering: tuple[float, float, float] = (6.0, 12.0, 24.0)
    """Their noise, as `noise`, in turn: each finds minima that the others do not. FC 0, +0.02 (−2,
    −1)."""
    gain: float = 1e-4
    """Of the smallest distortion: by less, an attack has found nothing nearer. By 3e-5,
    `AttackOptions.thorough()` takes a tenth more gradients for the same distortions on
    FC100-100-10."""
    fruitless: int = 10
    """Attacks in a row that found nothing nearer, after which there are no more. By 15,
    `AttackOptions.thorough()` takes 42 % more gradients and finds distortions 0.001 and 0.004 %
    smaller on FC123-456-10 and FC200-200-10."""

    # Temperatures, in units of the final one
    soft: float = 4.0
    """Of the coarse descent. FC +0.01, 0 (−1, 0); LeNet-5 −0.72, −0.24 (+3, +2)."""
    very_soft: float = 30.0
    """Of the coarse descent on a hard problem. LeNet-5 0, 0 (+1, 0)."""
    tie: float = 0.03
    """Of the last descent, where classes tie. FC 0, 0 (0, +2); LeNet-5 +0.06, −0.02 (+3, −1)."""
    dominant: float = 0.99
    """Share of the largest class among the others, above which there is no tie. FC 0, 0 (−1, 0);
    LeNet-5 +0.49, 0 (−6, +3)."""

    # Gradient averaging
    noise: float = 1.5
    """Root mean square of the noise at first, in units of that of r. FC 0, +0.01 (−2, +7); LeNet-5
    +0.09, −0.43 (−7, +10)."""
    noises: tuple[float, float, float] = (0.45, 1.5, 4.5)
    """The same of further attacks, in turn: each finds minima that the others do not. All of 1.5:
    `AttackOptions.thorough()` finds distortions 0.22 % (0.11–0.36) larger on LeNet-5 (300 images)
    and 0.08 % (−0.01–0.20) on the CNN (40)."""
    probing: float = 0.1
    """The same, of what tells at first whether the boundary is smooth."""
    shift: int = 101
    """Pixels by which the window on the noise moves; not a side of any common image. FC +0.07,
    +0.02 (−1, 0); LeNet-5 −0.67, −0.38 (+3, +2)."""
    windows: int = 1000
    """Places of the window, after which it starts anew."""
    apart: int = 175
    """Of these, from the beginning of an attack to that of a further one. FC 0, +0.02 (+2, −1)."""
    noiseless: float = 0.2
    """Of the steps, those at the end without noise. FC 0, 0 (−1, −1); LeNet-5 −0.59, −0.57 (0,
    +2)."""
    averaging: tuple[float, float] = (0.4, 0.01)
    """Weight of a new gradient in the average, at first and at least. FC +0.01, 0 (−2, −1);
    LeNet-5 −0.46, +0.01 (+2, 0)."""
    nonsmooth: float = 0.994
    """The boundary is non-smooth if the gradient there and that at x have a smaller cosine. FC 0,
    +0.14 (0, +786); LeNet-5, on 12 images, −0.47, 0 (−78, 0)."""
    nonsmooth_afar: float = 0.9
    """The same, of the gradients at two points displaced by `noise`, where steps were refused. FC
    0, +0.01 (−2, +20)."""
    nonsmooth_temperature: float = 3.0
    """Of that asked for, where the boundary is non-smooth. LeNet-5 −0.62, −0.32 (0, +4)."""
    nonsmooth_tols: tuple[float, float] = (1e-2, 1e-4)
    """There: tolerances of the coarse and the fine descents, where that asked for is smaller.
    LeNet-5 −0.17, −0.18 (+4, −1)."""
    promising: float = 1.001
    """Of the best distortion, up to which the fine descent of a further attack goes on to the
    tolerance asked for. Without it, `AttackOptions.thorough()` is worse by 0.05 % on LeNet-5 (50
    images), for as many gradients."""
    reserve: int = 20
    """Gradients that are left to the descent before averaging, and to that afterwards."""
    newton_steps: int = 4
    """To the smallest r in the box. FC 0, 0 (−1, −1); LeNet-5 −0.50, 0 (0, 0)."""
    tiny: float = 1e-30
    """In place of 0 in denominators."""


TUNING = Tuning()
