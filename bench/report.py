"""docs/performance.md and its plots, out of what benches printed: `python -m bench.report`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from bench.reporting.pages import page_of
from bench.reporting.plots import PLOTS, plots_of
from bench.results import COULD_NOT, BenchError, Result

_ROOT = Path(__file__).resolve().parent.parent


def read_results(folder: Path) -> dict[str, Result]:
    """Name of the file without its end -> what is in it, by name.

    Raises:
        BenchError: one of them is not what a bench prints; one sentence.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Result)
            _check_numbers(found[path.stem])
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise BenchError(
                f"{path} is not what a bench prints with --json ({error}); nothing is written."
            ) from None
    return found


def _check_numbers(result: Result) -> None:
    """What is drawn by its name must be a number.

    Raises:
        ValueError: it is none; one clause.
    """
    for part in ("over_limit_histogram", "watch_cpu_us_per_record"):
        for name, value in result.detail.get(part, {}).items():
            if not name.removeprefix("-").isdecimal() or value < 0:
                raise ValueError(f"`{name}` of detail.{part} must be a whole number, and {value:g} 0 or more")


def pages_of(results: Mapping[str, Result], folder: Path, out: Path) -> dict[Path, str]:
    """Every file of the report and what it says; plots go beside the figures."""
    plots = plots_of(results)
    way = os.path.relpath(folder.resolve(), out.resolve().parent)
    return {
        **{folder / name: drawn for name, drawn in plots.items()},
        out: page_of(results, plots, Path(way).as_posix()),
    }


def write_pages(pages: Mapping[Path, str]) -> None:
    """Write all files, each whole, or none if one of them cannot be written."""
    parts = {path.with_name(f"{path.name}.part"): path for path in pages}
    try:
        for part, path in parts.items():
            part.write_text(pages[path], encoding="utf-8")
        for part, path in parts.items():
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def remove_plots(folder: Path, pages: Mapping[Path, str]) -> None:
    """Take away the plots of an earlier report for which there are no figures any more."""
    for name in PLOTS:
        if folder / name not in pages:
            (folder / name).unlink(missing_ok=True)


@click.command()
@click.option(
    "--figures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=_ROOT / "docs" / "figures",
    help="Folder of what benches printed.  [default: docs/figures]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=_ROOT / "docs" / "performance.md",
    help="The page to write.  [default: docs/performance.md]",
)
def main(*, figures: Path, out: Path) -> None:
    r"""Write the page of figures.

    \b
    Example:
      python -m bench.placement --json > docs/figures/placement.json
      python -m bench.report
    """
    try:
        pages = pages_of(read_results(figures), figures, out)
        write_pages(pages)
        remove_plots(figures, pages)
    except (BenchError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    click.echo(f"{out}: {len(pages) - 1} plots")


if __name__ == "__main__":
    main()
