"""Numbers that the lockstep attack was tuned with, by subject."""

from typing import NamedTuple


class Tuning(NamedTuple):
    """Every number of the attack that is no setting of the user's."""

    # The gap at x
    least_gap: int = 16  # in leads that rounding hides, taken for smaller ones

    # Descents
    armijo: float = 1e-4  # of the slope, what a step must gain
    shrink: tuple[float, float] = (
        0.1,
        0.5,
    )  # factors by which a refused step is shortened, at most and at least
    shortest_step: float = 1e-3
    coarse: float = 3e-4  # tolerance of the coarse descent, where that asked for is smaller

    # Search over c, by the probability of the other classes: ½ on a boundary of two
    aim: float = 0.45  # probability that c is to give
    least_others: float = 1e-3  # taken for smaller ones, in predictions of c
    on_boundary: float = 0.3  # from ½, up to which a minimiser is as good as on the boundary
    far: float = 0.95  # probability above which it says little about c
    least_change: float = 1.1  # factor by which c changes, at least, until bracketed
    inset: float = (
        0.1  # share of the bracket of log c, at each end, that predictions are kept out of
    )
    bisect_every: int = 3  # values of c, one of which bisects the bracket, lest one end never moves
    stuck: int = 3  # values of c without a success after which the temperature rises
    patience: int = 3  # times as many values of c while there is no success at all

    # Polishing
    polishing: int = 2  # Newton steps on the ray to the boundary
    beyond: float = (
        1e-5  # of the gap, by how much a step is to lead beyond the margin, unless that is smaller
    )
    longest_on_ray: float = 0.1  # of r, how far such a step goes at most
    least_share: float = 1e-6  # of the gap's gradient, taken for smaller ones
    least_growth: float = 1e-12  # of the margin along r, taken for smaller ones

    # A second attack
    hard: int = 70  # gradients after which a problem was hard
    hopeless: float = (
        1.01  # a second attack whose distortion comes out so much larger than the first's ends
    )
    scattered: int = 2  # points that are averaged to begin one more, where the boundary is smooth
    scattering: float = 6.0  # their noise, as NOISE

    # Temperatures, in units of the final one
    soft: float = 4.0  # of the coarse descent
    very_soft: float = 30.0  # of the coarse descent on a hard problem
    tie: float = 0.1  # of the last descent, where classes tie
    dominant: float = (
        0.99  # share of the largest class among the others, above which there is no tie
    )

    # Gradient averaging
    noise: float = 1.5  # root mean square of the noise at first, in units of that of r
    shift: int = (
        101  # pixels by which the window on the noise moves; not a side of any common image
    )
    windows: int = 1000  # places of the window, after which it starts anew
    noiseless: float = 0.2  # of the steps, those at the end without noise
    averaging: tuple[float, float] = (
        0.8,
        0.01,
    )  # weight of a new gradient in the average, at first and at least
    nonsmooth: float = (
        0.8  # the boundary is non-smooth if gradients at displaced points have a smaller cosine
    )
    reserve: int = 20  # gradients that are left to the descent afterwards
    newton_steps: int = 4  # to the smallest r in the box
    tiny: float = 1e-30  # in place of 0 in denominators


TUNING = Tuning()
