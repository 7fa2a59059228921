"""Data sets: three splits from anything a person has, and one clear line when it cannot be learned from."""

import gzip
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from estimators.dataset import datasets, fingerprint, load, open_saved, save, split, summary
from estimators.split import Split


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path_factory.mktemp("cache")))


def pictures(folder, classes=("a", "b"), count=12, size=(10, 10), mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")
    return folder


def rows(part: Split):
    return {image.tobytes() for image in np.ascontiguousarray(part.x)}


def test_digits_in_three_disjoint_stratified_splits():
    digits = load("digits")
    assert digits.shape == (1, 8, 8) and len(digits.classes) == 10
    assert not rows(digits.train) & rows(digits.test) and not rows(digits.train) & rows(digits.val)
    shares = [
        np.bincount(part.y, minlength=10) / len(part) for part in (digits.train, digits.val, digits.test)
    ]
    assert np.abs(np.diff(shares, axis=0)).max() < 0.02
    assert fingerprint(load("digits")) == fingerprint(digits) != fingerprint(load("digits", seed=1))
    assert "10 classes, 1x8x8 pixels" in summary(digits)


def test_a_folder_of_class_folders(tmp_path):
    dataset = load(pictures(tmp_path / "own", count=20), seed=3)
    assert dataset.name == "own" and dataset.classes == ("a", "b") and dataset.shape == (3, 10, 10)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (28, 4, 8)


def test_official_splits_stay_and_sizes_and_modes_may_differ(tmp_path):
    for place, (name, mode) in enumerate([("train", "L"), ("val", "P"), ("test", "RGBA")]):
        pictures(tmp_path / name, count=5, size=(9 + place, 12), mode=mode, seed=place)
    dataset = load(tmp_path, side=16)
    assert (
        dataset.shape == (3, 16, 16)
        and [len(p) for p in (dataset.train, dataset.val, dataset.test)] == [10] * 3
    )
    grey = load(pictures(tmp_path / "grey", mode="L"))
    assert grey.shape == (1, 10, 10)


def test_arrays_npz_and_torch_data_sets_agree(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "set.npz", x=x, y=y)

    class Own(torch.utils.data.Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, i):
            return torch.from_numpy(x[i].transpose(2, 0, 1)), int(y[i])

    prints = {fingerprint(load(data)) for data in ((x, y), tmp_path / "set.npz", Own())}
    assert len(prints) == 1 and load((x, y)).shape == (3, 8, 8)


def test_copies_leave_the_training_side():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 1, 4, 4), dtype=np.uint8), np.arange(40) % 2
    test = Split(x[:6].copy(), y[:6])
    dataset = split("s", {"train": Split(x, y), "test": test, "classes": ("a", "b")}, 0)
    assert len(dataset.test) == 6 and not rows(dataset.train) & rows(dataset.test)
    assert any("6 training images are copies" in note for note in dataset.notes)


def test_saved_and_opened(tmp_path):
    digits = load("digits")
    save(digits, tmp_path / "data")
    again = open_saved(tmp_path / "data")
    assert fingerprint(again) == fingerprint(digits) and again.classes == digits.classes
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match=r"no saved data set in .*; start the search again"):
        open_saved(tmp_path)


def idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_torchvision_files_of_idx(name, folder, tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        raw = tmp_path / folder / "raw"
        idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    dataset = load(name, root=tmp_path)
    assert dataset.shape == (1, 28, 28) and len(dataset.test) == 20 and len(dataset.classes) == 10
    assert any(note.startswith("terms: ") and "MB to download" in note for note in dataset.notes)


def test_torchvision_files_of_cifar(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"c{i}" for i in range(10)]}))
    dataset = load("cifar10", root=tmp_path)
    assert dataset.shape == (3, 32, 32) and len(dataset.test) == 20 and dataset.classes[0] == "c0"


def test_torchvision_files_of_svhn(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8) for name in ("train", "test")}
    for name, x in pixels.items():
        savemat(tmp_path / f"{name}_32x32.mat", {"X": x, "y": (np.arange(40) % 10 + 1)[:, None]})
    dataset = load("svhn", root=tmp_path)
    assert dataset.shape == (3, 32, 32) and len(dataset.test) == 40
    assert np.array_equal(dataset.test.x[0], pixels["test"][..., 0].transpose(2, 0, 1))


def test_the_terms_are_said_before_a_download(tmp_path, monkeypatch, capsys):
    from torchvision.datasets import MNIST

    def refuse(self):
        said = capsys.readouterr().err
        assert (
            said == f"downloading MNIST into {tmp_path}: LeCun et al. 1998, CC BY-SA 3.0, 12 MB to download\n"
        )
        raise OSError("no network")

    monkeypatch.setattr(MNIST, "download", refuse)
    with pytest.raises(
        ValueError, match=r"MNIST is not below .* and its download failed \(no network\); put"
    ):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("name", datasets.names())
def test_every_named_set_says_its_terms(name):
    source = datasets.get(name)
    assert re.search("licence|CC BY|commercial", source.terms)
    assert re.search(r"\d+ MB to download|comes with", source.terms)


def images(n=20, **changed):
    x = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return {"x": x, "y": np.arange(n) % 2, **changed}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (images(y=np.zeros(20, int)), "one class only"),
        (images(y=np.array([0] * 19 + [1])), "has 1 training image"),
        (images(x=np.full((20, 8, 8, 3), np.nan)), "NaN"),
        (images(x=np.zeros((20, 8), np.uint8)), "shape"),
        (images(y=np.arange(7)), "7"),
        (images(y=np.arange(20) % 2 - 1), "integers from 0 on"),
        ({"images": np.zeros(3)}, r"holds \['images'\]"),
        (
            images(x_test=np.zeros((4, 9, 8, 3)), y_test=np.arange(4) % 2),
            r"test have shape \(3, 9, 8\), those of train",
        ),
        (images(x_test=np.zeros((4, 8, 8, 3))), "holds x_test alone"),
        (images(x=np.full((20, 8, 8, 3), 1.02)), r"reach 1\.02, neither"),
        (images(x=np.array([{}] * 20)), "objects, which are not unpickled"),
    ],
)
def test_bad_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "bad.npz")


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="no data set and no folder 'digitz'; did you mean 'digits'"):
        load("digitz")
    with pytest.raises(ValueError, match="no data set and no folder"):
        load(tmp_path / "missing")
    with pytest.raises(ValueError, match="holds no class folders"):
        load(tmp_path)
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "b").mkdir()
    with pytest.raises(ValueError, match="are empty; put the pictures"):
        load(tmp_path / "empty")
    with pytest.raises(ValueError, match="one class only"):
        load(pictures(tmp_path / "one", classes=("a",)))
    scarce = pictures(tmp_path / "scarce")
    for path in sorted((scarce / "b").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"class 'b' has 1 training image\(s\); give at least 3"):
        load(scarce)


def test_unreadable_files_are_listed_and_many_are_refused(tmp_path):
    folder = pictures(tmp_path / "some", count=20)
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "notes.png").write_text("not a picture")
    dataset = load(folder)
    assert any("2 of 41 files are no readable pictures and left out" in note for note in dataset.notes)
    for path in (folder / "b").iterdir():
        path.write_text("broken")
    with pytest.raises(ValueError, match=r"no readable pictures .*: remove or repair"):
        load(folder)


def test_a_compressed_npz_with_flipped_bytes(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", **images())
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"set\.npz.*is no readable"):
        load(tmp_path / "set.npz")


def test_a_truncated_npz(tmp_path):
    np.savez(tmp_path / "set.npz", **images())
    content = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"set\.npz"):
        load(tmp_path / "set.npz")
