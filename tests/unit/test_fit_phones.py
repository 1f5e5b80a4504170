"""The phones' hardware files are what `tools/fit_phones.py` makes of its data, and it reads no co-executed network."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from codl import hardware as hw

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    """Everything in the modules of the tool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        modules = [importlib.import_module(name) for name in ("phone_model", "phone_files", "phone_checks")]
        return SimpleNamespace(**{name: value for module in modules for name, value in vars(module).items()})


@pytest.fixture(scope="module")
def fitted(tool):
    phones = tool.Phones()
    observations = tool.rows(phones) + tool.figures(phones)
    return phones, observations, tool.fit(phones, observations)


def test_the_files_are_what_the_tool_makes(tool, fitted) -> None:
    phones, observations, posterior = fitted
    for soc in phones.socs:
        made, packaged = tool.hardware(phones, soc, posterior, observations, ""), hw.load(soc)
        for processor, kinds in packaged.libraries["mace"].kernels.items():
            for data_type, kernels in kinds.items():
                again = {k.name: k for k in made.libraries["mace"].kernels[processor][data_type]}
                for kernel in kernels:
                    for section in ("compute", "memory", "fixed"):
                        expected = getattr(again[kernel.name], section)
                        assert getattr(kernel, section) == pytest.approx(expected, rel=0.01), (soc, kernel.name)
        update = {"libraries": packaged.libraries, "calibration": packaged.calibration}
        assert made.model_copy(update=update).digest == packaged.digest, soc


def test_nothing_co_executed_is_fitted_to(tool, fitted) -> None:
    _, observations, _ = fitted
    assert {item.processor for item in observations if item.network} == {"cpu", "gpu"}
    assert sum(bool(item.network) for item in observations) == 40
    source = "".join(path.read_text(encoding="utf-8") for path in TOOLS.glob("*phone*.py"))
    assert "headline_latency" not in source and "plans" not in [path.name for path in tool.DATA.rglob("*")]


def test_single_operators_are_within_a_fifth(fitted) -> None:
    _, observations, posterior = fitted
    for item, seconds in zip(observations, posterior.predicted, strict=True):
        if not item.network:
            assert seconds == pytest.approx(item.seconds, rel=0.2), item.label


def test_redrawn_priors_are_draws_of_the_priors(tool, fitted) -> None:
    phones, *_ = fitted
    priors = phones.priors()
    one, again, other = (tool.redrawn(priors, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert all(one[name].sigma == priors[name].sigma for name in priors)
