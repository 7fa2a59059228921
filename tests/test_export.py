"""Exports run without this project and compute what was trained."""

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from estimators.pictures import decode
from estimators.preprocess import Standardise
from estimators.split import Split
from estimators.train import evaluate_split
from nas.exporter import Trained, exporters
from nas.exporters import pytorch
from nas.exporters.pytorch import evaluate_exported, to_module, verify_all
from search_spaces.architecture import Opaque, SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.space import Configuration, Int, Space
from search_spaces.spaces.chain import Chain


def trained(shape, seed, space=None, **fixed):
    """Return a sampled design with weights and statistics away from their initial values."""
    rng = np.random.default_rng(seed)
    joint = space or SearchSpace(Chain(shape, 5), recipe_space(shape, 5, 1_000))
    design = joint.decode(Configuration({**joint.space.sample(rng), **fixed}))
    network = design.network(seed)
    with torch.no_grad():
        network.train()(torch.randn(16, *design.shape))
        list(network.parameters())[-2].mul_(200)  # logits as large as those of a trained network
    return Trained(
        design=design,
        weights={name: value.numpy() for name, value in network.state_dict().items()},
        classes=("ant", "bee", "cat", "dog", "elk"),
        normalize=((0.4,) * design.shape[0], (0.3,) * design.shape[0]),
        per_image=design.recipe["normalize"] == "image",
        images=rng.integers(0, 256, (12, *shape), dtype=np.uint8),
        labels=rng.integers(0, 5, 12),
        metrics={"accuracy": 0.5},
        about={"data": "drawn"},
    )


def build(config):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, config["units"]), torch.nn.Linear(config["units"], 5)
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    one = trained((1, 8, 8), 0, **{"recipe.normalize": "data"})
    exporters.get("pytorch")().export(one, folder)
    return one, folder


def test_twenty_designs_in_one_clean_process(tmp_path):
    exporter = exporters.get("pytorch")()
    shapes = [(1, 8, 8), (3, 32, 32)]
    folders = [exporter.export(trained(shapes[i % 2], i), tmp_path / f"model-{i}") for i in range(20)]
    reports = verify_all(folders)
    assert len({path.joinpath("model.py").read_text().split("CLASSES")[0][-200:] for path in folders}) >= 5
    assert len(reports) == 20
    assert all(
        report["top1_equal"] == 1 and report["worst"] <= 1 and report["images"] == 12 for report in reports
    )


def test_what_is_written(exported):
    one, folder = exported
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "model.py",
        "weights.safetensors",
        "recipe.json",
        "graph.json",
        "predict.py",
        "check.safetensors",
    }
    text = (folder / "model.py").read_text()
    assert "import nas" not in text and "search_spaces" not in text and "estimators" not in text
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["recipe"] == dict(one.design.recipe) and recipe["data"] == "drawn"


def test_the_module_and_the_clean_process_agree(exported):
    one, folder = exported
    logits = evaluate_exported(folder, one.images)
    network, direct = to_module(folder), one.design.network(0)
    direct.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in one.weights.items()})
    z = (torch.from_numpy(one.images).float() / 255 - 0.4) / 0.3
    with torch.inference_mode():
        np.testing.assert_allclose(network(z).numpy(), logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(direct.eval()(z).numpy(), logits, rtol=1e-4, atol=1e-4)
    assert not network.training


@pytest.mark.parametrize("kind", [pytest.param("data", marks=pytest.mark.slow), "image"])
def test_an_export_greys_resizes_and_scales_as_training_does(tmp_path, kind):
    fixed = {"recipe.colour": "grey", "recipe.side": 24, "recipe.normalize": kind}
    one = trained((3, 32, 40), 1, **fixed)
    assert one.design.shape == (1, 24, 30)
    folder = exporters.get("pytorch")().export(one, tmp_path / "model")
    assert verify_all([folder])[0]["top1_equal"] == 1
    split = Split(one.images, one.labels)
    standardise = Standardise(*one.normalize, per_image=kind == "image")
    _, logits = evaluate_split(one.design, one.weights, split, standardise)
    np.testing.assert_allclose(evaluate_exported(folder, one.images), logits, rtol=1e-4, atol=1e-4)
    other = np.random.default_rng(0).integers(0, 256, (2, 3, 70, 50), dtype=np.uint8)
    assert evaluate_exported(folder, other).shape == (2, 5)  # of any size

    Image.fromarray(one.images[0].transpose(1, 2, 0)).save(tmp_path / "first.png")
    command = [sys.executable, "-I", str(folder / "predict.py"), str(tmp_path / "first.png")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    p = torch.from_numpy(logits[0]).softmax(0)
    assert said.strip().endswith(f"{one.classes[int(p.argmax())]} ({float(p.max()):.1%})")


def test_predict_reads_picture_files(exported, tmp_path):
    _, folder = exported
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "any.png")
    (tmp_path / "text.png").write_text("no picture")
    command = [
        sys.executable,
        "-I",
        str(folder / "predict.py"),
        str(tmp_path / "any.png"),
        str(tmp_path / "text.png"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "text.png: not a readable picture" in done.stderr
    assert any(f"any.png: {name} (" in done.stdout for name in ("ant", "bee", "cat", "dog", "elk"))


def test_damage_is_noticed(exported, tmp_path):
    verify = exporters.get("pytorch")().verify
    with pytest.raises(ValueError, match=r"has no model.py; give a folder that `nas export` wrote"):
        verify(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(exported[1], broken)
    text = (broken / "model.py").read_text()
    (broken / "model.py").write_text(text.replace("STD = (0.3,)", "STD = (0.6,)"))
    with pytest.raises(ValueError, match=r"does not compute what was trained: .* logits off by up to"):
        verify(broken)
    (broken / "model.py").write_text("import nas\n" + text)
    with pytest.raises(ValueError, match="does not run by itself: ModuleNotFoundError: nas is not there"):
        verify(broken)
    (broken / "model.py").write_text(text)
    (broken / "weights.safetensors").write_bytes((broken / "weights.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match="does not run by itself"):
        verify(broken)


def test_whole_or_absent(exported, tmp_path, monkeypatch):
    exporter = exporters.get("pytorch")()
    with pytest.raises(ValueError, match="exists; choose a folder that does not"):
        exporter.export(*exported)
    monkeypatch.setattr(pytorch, "PREDICT", None)
    with pytest.raises(TypeError):
        exporter.export(exported[0], tmp_path / "half")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_design_of_ones_own_is_traced(tmp_path):
    shape = (1, 8, 8)
    joint = SearchSpace(
        Opaque(shape, 5, Space(units=Int(3, 9)), build), recipe_space(shape, 5, 1_000, fixed_shape=True)
    )
    one = trained(shape, 3, joint)
    assert one.design.parameters == sum(value.size for value in one.weights.values())
    folder = exporters.get("pytorch")().export(one, tmp_path / "own")
    assert exporters.get("pytorch")().verify(folder)["top1_equal"] == 1
    assert evaluate_exported(folder, one.images[:1]).shape == (1, 5)
    single = replace(one, images=one.images[:1], labels=one.labels[:1])
    folder = exporters.get("pytorch")().export(single, tmp_path / "single")
    assert exporters.get("pytorch")().verify(folder)["images"] == 1
    assert evaluate_exported(folder, one.images[:3]).shape == (3, 5)


def test_predict_reads_pictures_as_training_did(exported, tmp_path, monkeypatch):
    folder = exported[1]
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    glass = np.dstack([colour, rng.integers(0, 256, (12, 9), dtype=np.uint8)])
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "plain.png": (Image.fromarray(colour), {}),
        "glass.png": (Image.fromarray(glass), {}),
        "turned.png": (Image.fromarray(colour), {"exif": turned}),
        "deep.png": (Image.fromarray(rng.integers(0, 65536, (12, 9), dtype=np.uint16)), {}),
        "float.tiff": (Image.fromarray(rng.random((12, 9)).astype(np.float32)), {}),
        "palette.gif": (Image.fromarray(colour).quantize(8), {}),
    }
    monkeypatch.syspath_prepend(str(folder))
    for name in ("model", "predict"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    predict = importlib.import_module("predict")
    for name, (picture, options) in kinds.items():
        picture.save(tmp_path / name, **options)
        wanted = decode(str(tmp_path / name), 8, grey=True)
        assert np.array_equal(predict.read(str(tmp_path / name))[0].numpy(), wanted), name
    for name in ("model", "predict"):
        sys.modules.pop(name, None)
