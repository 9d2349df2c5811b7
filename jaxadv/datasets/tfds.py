"""Data sets as NumPy arrays, kept and read by TensorFlow Datasets (TFDS).

TFDS's own builders need TensorFlow, which is not used here: raw files come from `fetch`.
"""

import contextlib
import functools
import io
import json
import os
import threading
from pathlib import Path
from typing import Any, overload

import numpy as np

from jaxadv.datasets import fetch, idx, prepared, sources
from jaxadv.datasets.arrays import Arrays
from jaxadv.datasets.dataset import Dataset, DatasetInfo
from jaxadv.storage.errors import InputError


def info(name: str) -> DatasetInfo:
    """Describes a data set, without loading it.

    Raises:
      ValueError: unknown `name`.

    Example:
      >>> info("mnist").image_shape, info("mnist").examples["test"]
      ((28, 28, 1), 10000)
    """
    source = sources.find(name)
    return DatasetInfo(name, source.image_shape, source.classes, _sizes(source.splits))


@overload
def load(
    name: str, split: None = None, data_dir: str | os.PathLike | None = None
) -> dict[str, Dataset]: ...


@overload
def load(name: str, split: str, data_dir: str | os.PathLike | None = None) -> Dataset: ...


def load(
    name: str, split: str | None = None, data_dir: str | os.PathLike | None = None
) -> Dataset | dict[str, Dataset]:
    """Loads a data set, which the first call prepares under `data_dir`.

    A damaged one is set aside with a warning, in a folder whose name ends with ".damaged", and
    prepared anew.

    Args:
        name: "mnist" or "fashion_mnist", as `sources` has them.
        split: what to read, as TFDS writes it: "train", "test", "train[:30000]", "train[50%:]",
            "train+test". Examples keep the order of the IDX files.
        data_dir: where data sets are kept; by default TFDS's own directory. The raw files can be
            put by hand into `<data_dir>/downloads/manual/<name>/`; else they are downloaded.

    Returns:
        The split as a `Dataset`, or all splits by name where `split` is None.

    Raises:
        ValueError: unknown `name`, bad `split`, or raw files that are not the canonical ones.
        FileNotFoundError: the raw files cannot be had; the message says which to put where.
    """
    source = sources.find(name)
    builder = _prepared_builder(name, data_dir)
    if split is None:
        return {each: _read(builder, each) for each in source.splits}
    return _read(builder, split)


def open_split(name: str, data_dir: Path | None = None) -> tuple[Any, str, tuple[str, ...] | None]:
    """Opens a split of a data set, which need not fit into memory where it is not of `sources`.

    Args:
      name: "NAME/SPLIT", as "mnist/test", "imagenet2012/validation[:1000]": one of `sources`, or
        any that TFDS has prepared as array_record files; or "FOLDER/SPLIT", of such files with the
        features.json and dataset_info.json that TFDS writes. Where SPLIT is empty, the only one.
      data_dir: where data sets are kept; by default TFDS's own directory.

    Returns:
      A sequence of dicts, in which images that were kept encoded still are; its name, with the
      data set's version; and the names of the classes.

    Raises:
      Exception: of any kind, where there is no such data set or split.
    """
    from tensorflow_datasets import decode, features

    name, _, split = name.rpartition("/")
    if name in sources.SOURCES:  # small, and read in one go 20 times as fast
        images, labels = load(name, split, data_dir)
        return Arrays({"images": images, "labels": labels}), f"{name}/{split}", None
    builder = _found_builder(name, data_dir)
    if not split and len(builder.info.splits) == 1:
        (split,) = builder.info.splits
    features_dict: Any = builder.info.features
    kinds = dict(features_dict.items())
    encoded = isinstance(kinds.get("image"), features.Image)
    source = _source(builder, split, {"image": decode.SkipDecoding()} if encoded else None)
    classes = getattr(kinds.get("label"), "names", None)  # None also where they have none
    return source, f"{builder.info.full_name}/{split}", tuple(classes) if classes else None


def _found_builder(name, data_dir):
    """The builder of a folder, or of what TFDS has prepared: NAME[/CONFIG][:VERSION]."""
    from tensorflow_datasets.core import constants, read_only_builder

    description = Path(name, "features.json")
    if not description.exists():
        root = Path(data_dir or constants.DATA_DIR).expanduser()
        dataset, _, version = name.partition(":")
        found = (root / dataset).glob(f"{version or '*.*.*'}/features.json")
        description = max(found, key=_version, default=None)
        if description is None:
            raise InputError(f"TFDS has prepared no {name!r} in {root}")
    json.loads(description.read_bytes(), object_hook=_check_feature)
    return read_only_builder.builder_from_directory(description.parent)


def _version(path):
    return [number.zfill(9) for number in path.parent.name.split(".")]


def _check_feature(fields):
    """Refuses what TFDS would import, which runs code."""
    for key in ("pythonClassName", "python_class_name", "type"):
        if isinstance(kind := fields.get(key), str) and not kind.startswith("tensorflow_datasets."):
            raise InputError(f"features.json names {kind!r}, which is not of tensorflow_datasets")
    return fields


def _sizes(splits):
    return {key: split.num_examples for key, split in splits.items()}


_preparing = threading.Lock()  # redirect_stdout acts on all threads


def _prepared_builder(name: str, data_dir: str | os.PathLike | None) -> Any:
    builder_class = _builder_class(name)
    # TFDS would expand ~ for downloads/ only.
    root = Path(data_dir or builder_class.default_root).expanduser()
    folder = root / builder_class.name / str(builder_class.VERSION)
    make_builder = functools.partial(builder_class, data_dir=root, file_format="array_record")

    def read():
        builder = make_builder()
        for split in builder.info.splits:
            _read(builder, split)

    with _preparing, contextlib.redirect_stdout(io.StringIO()):
        prepared.check(folder, read)
        if not folder.exists():
            prepared.remove_abandoned(folder)
        builder = make_builder()
        try:
            # Does nothing where the data set is there, and then it is whole: TFDS writes into a
            # temporary directory that it renames in the end.
            builder.download_and_prepare()
        except OSError as error:
            if not builder.data_path.exists():  # else another process was faster
                if isinstance(error, FileNotFoundError):  # of the raw files
                    raise
                raise OSError(f"{name} cannot be prepared in {folder}: {error}") from error
        prepared.keep_sums(folder)
    builder = make_builder()  # reads what is there now
    found = _sizes(builder.info.splits)
    expected = _sizes(sources.find(name).splits)
    if found != expected:
        raise InputError(f"{builder.data_dir} has {found} examples, not {expected}: delete it")
    return builder


def _read(builder, split: str) -> Dataset:
    source = _source(builder, split)
    examples = source.__getitems__(range(len(source)))  # 3 times as fast as one by one
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], np.int32)
    return Dataset(images / np.float32(255), labels)


def _source(builder, split, decoders=None):
    try:
        source = builder.as_data_source(split=split, decoders=decoders)
        len(source)  # raises where there is nothing
    except ValueError as error:
        splits = list(builder.info.splits)
        raise InputError(f"Bad split {split!r}; the splits are {splits}. {error}") from error
    return source


@functools.cache
def _builder_class(source_name: str) -> Any:
    import tensorflow_datasets as tfds  # half a second that importing this module need not cost
    from tensorflow_datasets.core import constants

    tfds.disable_progress_bar()

    class Info(tfds.core.DatasetInfo):
        """Asks no server for what it would know of TFDS's own data sets."""

        def initialize_from_bucket(self):  # leaves a temporary folder behind
            pass

    class IdxBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Keeps one of the known data sets."""

        VERSION = tfds.core.Version("1.1.0")
        name = f"jaxadv_{source_name}"  # not to be taken for TFDS's own
        default_root = constants.DATA_DIR

        def _info(self):
            known = sources.find(source_name)
            features = {
                "image": tfds.features.Tensor(
                    shape=known.image_shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
                ),
                "label": tfds.features.ClassLabel(num_classes=known.classes),
            }
            return Info(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            # dl_manager.manual_dir is no good, as it raises where the folder is missing.
            folder = Path(self.data_dir_root, "downloads", "manual", source_name)
            known = sources.find(source_name)
            files = fetch.idx_files(source_name, known, folder)
            return {key: self._generate_examples(known, key, files) for key in known.splits}

        def _generate_examples(self, known, key, files):
            split = known.splits[key]
            shape = (split.num_examples, *idx.image_shape(known.image_shape))
            images = idx.decode(split.images, files[split.images], shape)
            labels = idx.decode(split.labels, files[split.labels], shape[:1])
            images = images.reshape(-1, *known.image_shape)
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": label}

    return IdxBuilder
