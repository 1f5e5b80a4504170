"""The layers of docs/architecture.md hold, and the public surface is what it says."""

from importlinter.application.use_cases import create_report, read_user_options
from importlinter.configuration import configure

import codl

configure()


def test_every_import_contract_holds() -> None:
    report = create_report(read_user_options())
    assert not report.could_not_run
    assert report.contains_failures is False, [
        contract.name for contract, check in report.get_contracts_and_checks() if not check.kept
    ]
    assert report.contracts_kept >= 6 if hasattr(report, "contracts_kept") else True


def test_the_public_surface_is_a_list() -> None:
    assert sorted(codl.__all__) == ["Session", "__version__", "load"]
    for name in codl.__all__:
        assert getattr(codl, name)
