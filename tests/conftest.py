"""Every test has a cache of its own: none reads or fills that of the user."""

import numpy as np
import pytest

from estimators.dataset import load


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A twentieth of the digits, in two classes, as an .npz: an epoch takes milliseconds."""
    digits = load("digits")
    keep = digits.train.y < 2
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x=digits.train.x[keep][:120], y=digits.train.y[keep][:120])
    return path


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """The folder of a finished run of two designs; not to be changed."""
    import nas

    out = tmp_path_factory.mktemp("finished") / "run"
    options = {"strategy": "random", "constraints": ["macs<=1e6"], "trackers": ["tensorboard"]}
    return nas.search(small, trials=2, out=out, **options).folder.path
