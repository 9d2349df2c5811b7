"""Numbers that the lockstep attack was tuned with, by subject."""

# The gap at x
LEAST_GAP = 16  # in leads that rounding hides, taken for smaller ones

# Descents
ARMIJO = 1e-4  # of the slope, what a step must gain
SHRINK = 0.1, 0.5  # factors by which a refused step is shortened, at most and at least
SHORTEST_STEP = 1e-3
COARSE = 3e-4  # tolerance of the coarse descent, where that asked for is smaller

# Search over c, by the probability of the other classes: ½ on a boundary of two
AIM = 0.45  # probability that c is to give
LEAST_OTHERS = 1e-3  # taken for smaller ones, in predictions of c
ON_BOUNDARY = 0.3  # from ½, up to which a minimiser is as good as on the boundary
FAR = 0.95  # probability above which it says little about c
LEAST_CHANGE = 1.1  # factor by which c changes, at least, until bracketed
INSET = 0.1  # share of the bracket of log c, at each end, that predictions are kept out of
BISECT_EVERY = 3  # values of c, one of which bisects the bracket, lest one end never moves
STUCK = 3  # values of c without a success after which the temperature rises
PATIENCE = 3  # times as many values of c while there is no success at all

# Polishing
POLISHING = 2  # Newton steps on the ray to the boundary
BEYOND = 1e-5  # of the gap, by how much a step is to lead beyond the margin, unless that is smaller
LONGEST_ON_RAY = 0.1  # of r, how far such a step goes at most
LEAST_SHARE = 1e-6  # of the gap's gradient, taken for smaller ones
LEAST_GROWTH = 1e-12  # of the margin along r, taken for smaller ones

# A second attack
HARD = 70  # gradients after which a problem was hard
HOPELESS = 1.01  # a second attack whose distortion comes out so much larger than the first's ends
SCATTERED = 2  # points that are averaged to begin one more, where the boundary is smooth
SCATTERING = 6.0  # their noise, as NOISE

# Temperatures, in units of the final one
SOFT = 4.0  # of the coarse descent
VERY_SOFT = 30.0  # of the coarse descent on a hard problem
TIE = 0.1  # of the last descent, where classes tie
DOMINANT = 0.99  # share of the largest class among the others, above which there is no tie

# Gradient averaging
NOISE = 1.5  # root mean square of the noise at first, in units of that of r
SHIFT = 101  # pixels by which the window on the noise moves; not a side of any common image
WINDOWS = 1000  # places of the window, after which it starts anew
NOISELESS = 0.2  # of the steps, those at the end without noise
AVERAGING = 0.8, 0.01  # weight of a new gradient in the average, at first and at least
NONSMOOTH = 0.8  # the boundary is non-smooth if gradients at displaced points have a smaller cosine
RESERVE = 20  # gradients that are left to the descent afterwards
NEWTON_STEPS = 4  # to the smallest r in the box
TINY = 1e-30  # in place of 0 in denominators
