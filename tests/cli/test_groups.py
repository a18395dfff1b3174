"""Groups of options: their fields are options of the command, once each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from probscale.cli.groups import with_groups


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide.")] = field()
    unit: Annotated[str, typer.Option(help="Of the width.")] = "mm"


@dataclass(frozen=True, kw_only=True)
class Price:
    each: Annotated[float, typer.Option(help="Of one.")] = 1.0
    unit: Annotated[str, typer.Option(help="Not seen: the first group has it already.")] = "EUR"
    currency: str = field(default="EUR", init=False)


@pytest.fixture
def shop() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_groups
    def order(
        name: str, *, size: Size, price: Price, times: Annotated[int, typer.Option(help="How many.")] = 1
    ) -> None:
        typer.echo(f"{name} {size.width}{size.unit} {price.each}{price.unit} {price.currency} x{times}")

    return app


def test_fields_of_groups_are_options_with_their_defaults(shop: typer.Typer) -> None:
    said = CliRunner().invoke(shop, ["nail", "--width", "3", "--times", "2"])
    assert said.output == "nail 3mm 1.0mm EUR x2\n"


def test_an_option_that_two_groups_share_goes_to_both(shop: typer.Typer) -> None:
    said = CliRunner().invoke(shop, ["nail", "--width", "3", "--unit", "cm", "--each", "0.5"])
    assert said.output == "nail 3cm 0.5cm EUR x1\n"


def test_a_field_without_default_must_be_given(shop: typer.Typer) -> None:
    said = CliRunner().invoke(shop, ["nail"])
    assert said.exit_code == 2
    assert "--width" in said.output


def test_a_field_made_without_init_is_no_option(shop: typer.Typer) -> None:
    said = CliRunner().invoke(shop, ["--help"])
    assert "--currency" not in said.output
    assert said.output.count("--unit") == 1


def test_every_option_of_every_command_says_what_it_is() -> None:
    from probscale.cli.app import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        silent = [option.name for option in command.params if not getattr(option, "help", None)]
        assert not silent, f"{name}: {silent}"
