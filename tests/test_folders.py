"""Folders of pictures: all that people have lying in them, read once, mapped ever after."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from test_pictures import ALPHA, GREYS, INDEX, RGB, broken_kinds, odd_kinds

from estimators import cache, dataset, folders
from estimators.dataset import fingerprint, load, open_saved, save, summary


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


def noise(folder, classes=("a", "b"), count=15, side=8, seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


def topics(data):
    return [note.partition(": ")[0] for note in data.notes]


def test_a_folder_of_every_odd_kind(tmp_path):
    folder = noise(tmp_path / "odd", count=30)
    for name, encode in odd_kinds(RGB, INDEX, GREYS, ALPHA).items():
        (folder / "a" / name).write_bytes(encode())
    for name, content in list(broken_kinds(RGB).items())[:6]:
        (folder / "b" / name).write_bytes(content)
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", "labels.csv"):
        (folder / "a" / name).write_text("not a picture")
    (folder / "a" / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "a" / "000.png", folder / "a" / ".ipynb_checkpoints")
    (folder / "__MACOSX").mkdir()
    (folder / "b" / "deeper").mkdir()
    shutil.move(folder / "b" / "001.png", folder / "b" / "deeper")
    data = load(folder, side=12)
    assert data.classes == ("a", "b") and data.shape == (3, 12, 12)
    text = "\n".join(data.notes)
    assert "unreadable: 6 of 86 files are no readable pictures and left out: b/empty.png: empty;" in text
    assert "ignored: 3 files that are no pictures (1 .db, 1 .csv, 1 .txt)" in text
    assert "alpha: 5 pictures with transparency are laid on white" in text
    assert sum(len(part) for part in (data.train, data.val, data.test)) + lost(data) == 80
    assert sum(data.report.modes.values()) == 80 and data.report.modes["RGB"] >= 60


def lost(data):
    found = [note.split()[1] for note in data.notes if "left out of training" in note]
    return int(found[0]) if found else 0


def test_the_second_start_maps_what_the_first_decoded(tmp_path, monkeypatch):
    folder = noise(tmp_path / "own")
    first = load(folder)
    calls = []
    monkeypatch.setattr(folders, "decode", lambda *_: calls.append(1))
    second = load(folder)
    assert (first.report.source, second.report.source) == ("decoded", "cache") and not calls
    assert fingerprint(first) == fingerprint(second) and first.notes == second.notes
    assert isinstance(second.train.x, np.memmap) and not second.train.x.flags.writeable
    other = load(folder, seed=1)
    assert not calls and "split anew" in other.report.source
    assert fingerprint(other) != fingerprint(first)
    moved = folder.rename(tmp_path / "moved")
    assert load(moved).name == "moved" and not calls


def test_a_changed_picture_is_seen_and_so_is_another_side(tmp_path):
    folder = noise(tmp_path / "own")
    before = load(folder)
    path = folder / "a" / "000.png"
    times = path.stat()
    content = bytearray(path.read_bytes())
    path.write_bytes(bytes(content[:-30]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load(folder).report.source == "decoded" and "unreadable" in topics(load(folder))
    path.write_bytes(bytes(content))
    assert fingerprint(load(folder)) == fingerprint(before)
    assert load(folder, side=16).shape == (3, 16, 16)


def test_no_more_than_a_batch_is_in_memory(tmp_path, monkeypatch):
    folder = noise(tmp_path / "own", count=20)
    monkeypatch.setattr(folders, "BATCH", 8)
    alive, most = [0], [0]

    class Counted(np.ndarray):
        def __del__(self):
            alive[0] -= self.base is not None and self.ndim == 3 and self.shape == (3, 8, 8)

    def counting(*arguments):
        array = folders_decode(*arguments).view(Counted)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return array

    folders_decode = folders.decode
    monkeypatch.setattr(folders, "decode", counting)
    load(folder)
    assert 0 < most[0] <= 2 * 8


def test_a_run_folder_shares_the_cache_and_outlives_it(tmp_path):
    data = load(noise(tmp_path / "own"))
    save(data, tmp_path / "run")
    inside = tmp_path / "run" / "train_x.npy"
    assert inside.stat().st_nlink == 2 and not inside.is_symlink()
    shutil.rmtree(cache.place())
    copied = shutil.copytree(tmp_path / "run", tmp_path / "copied")
    assert fingerprint(open_saved(copied)) == fingerprint(data)
    save(data, tmp_path / "late")  # the cache has dropped the files that the arrays still map
    assert fingerprint(open_saved(tmp_path / "late")) == fingerprint(data)


def test_links_that_are_impossible_become_copies(tmp_path, monkeypatch):
    data = load(noise(tmp_path / "own"))

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    save(data, tmp_path / "run")
    assert (tmp_path / "run" / "train_x.npy").stat().st_nlink == 1
    assert fingerprint(open_saved(tmp_path / "run")) == fingerprint(data)


def test_without_a_cache_the_pictures_fit_in_memory_or_not(tmp_path, monkeypatch):
    folder = noise(tmp_path / "own")
    cached = load(folder)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    data = load(folder)
    assert fingerprint(data) == fingerprint(cached) and not isinstance(data.train.x, np.memmap)
    assert "cannot write the cache" in data.notes[-1] and "set NAS_CACHE" in data.notes[-1]
    monkeypatch.setattr(dataset, "MEMORY_SHARE", 0.0)
    with pytest.raises(ValueError, match=r"own is too large to be kept in memory, and .*: set NAS_CACHE"):
        load(folder)


def test_copies_across_splits_and_within_train(tmp_path):
    for seed, name in enumerate(("train", "val", "test")):
        noise(tmp_path / "own" / name, count=6, seed=seed)
    own = tmp_path / "own"
    shutil.copy(own / "test" / "a" / "000.png", own / "train" / "a" / "copy.png")
    shutil.copy(own / "val" / "b" / "000.png", own / "train" / "b" / "copy.png")
    shutil.copy(own / "test" / "a" / "001.png", own / "val" / "a" / "copy.png")
    with Image.open(own / "train" / "a" / "000.png") as picture:
        picture.save(own / "train" / "a" / "again.bmp")
        picture.save(own / "train" / "b" / "contrary.tif")
    data = load(own)
    assert [len(part) for part in (data.train, data.val, data.test)] == [14, 13, 12]
    text = "\n".join(data.notes)
    assert "2 training images are copies of validation or test images: left out of training" in text
    assert "2 training images repeat another one: kept" in text
    assert "1 training images have copies of another class: correct the labels" in text
    assert "1 validation images are copies of test images: kept" in text


def test_the_summary_names_what_matters(tmp_path):
    folder = noise(tmp_path / "own", count=30)
    for path in sorted((folder / "b").iterdir())[10:]:
        path.unlink()
    data = load(folder)
    assert data.imbalance == pytest.approx(np.divide(*np.bincount(data.train.y)))
    lines = summary(data).splitlines()
    assert lines[0] == "own: 2 classes, 3x8x8 pixels"
    labels = [line[2:14].strip() for line in lines[1:]]
    order = "images,per class,imbalance,modes,sizes,held out,duplicates,source"
    assert labels == order.split(",") and all(line[2] != " " for line in lines[1:])
    counts = np.bincount(data.train.y)
    assert f"  per class   a: {counts[0]}, b: {counts[1]} (train)" in lines
    assert "consider the objective balanced_accuracy" in lines[3] and "none" in lines[7]
    assert lines[4:6] == [
        "  modes       40 RGB",
        "  sizes       8x8 smallest, 8x8 median, 8x8 largest, as stored",
    ]
    assert lines[-1].startswith("  source      decoded, ")
    many = noise(tmp_path / "many", classes=[f"c{i:02}" for i in range(15)], count=4)
    assert ", ..., " in summary(load(many)) and max(map(len, summary(load(many)).splitlines())) <= 110


def test_the_notes_say_whose_proportions_are_lost(tmp_path):
    folder = noise(tmp_path / "own", count=10)
    assert not any(note.startswith("resized: ") for note in load(folder).notes)
    Image.new("RGB", (9, 9)).save(folder / "a" / "square.png")
    assert "resized: pictures of 2 size(s) resized to 8x8" in load(folder).notes
    Image.new("RGB", (12, 9)).save(folder / "a" / "wide.png")
    Image.new("RGB", (9, 12)).save(folder / "b" / "high.png")
    text = "; 2 are not square and lose their proportions: crop them before to keep these"
    assert f"resized: pictures of 4 size(s) resized to 8x8{text}" in load(folder).notes


def test_an_empty_validation_folder_counts_as_none(tmp_path):
    folder = noise(tmp_path / "own" / "train", count=10).parent
    (folder / "val" / "a").mkdir(parents=True)
    (folder / "train" / "a" / "001.png").unlink()
    (folder / "train" / "a" / "linked.png").symlink_to(folder / "train" / "b" / "001.png")
    data = load(folder)
    assert len(data.val) >= 2 and sum(map(len, (data.train, data.val, data.test))) + lost(data) == 20


def test_folders_without_pictures(tmp_path):
    folder = tmp_path / "texts"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "one.txt").write_text("text")
    with pytest.raises(ValueError, match=r"'.*texts' holds no pictures, only 2 \.txt; add some"):
        load(folder)
    assert not [path for path in cache.place().iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("names", "message"),
    [(("val", "test"), "but no 'train'"), (("train", "val", "validation"), "which are one split")],
)
def test_split_folders_that_contradict(names, message, tmp_path):
    for name in names:
        (tmp_path / name / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=message):
        folders._split_folders(tmp_path)


def test_split_folders_in_capitals_are_splits(tmp_path):
    for split in ("Train", "TEST"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
    assert {name: path.name for name, path in folders._split_folders(tmp_path).items()} == {
        "train": "Train",
        "test": "TEST",
    }
