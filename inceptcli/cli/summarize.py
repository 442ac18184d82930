"""`inceptcli summarize`: which network is this, how large, and what does it do to an image?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.image_size import check_image_size, image_size_of
from inceptcli.cli.names import complete_network_or_weights
from inceptcli.cli.output_files import OutputFiles
from inceptcli.cli.summarize_difference import print_difference
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display
from inceptcli.tables import results_console
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.data.preprocessing import Preprocessing
    from inceptcli.networks.registry import NetworkOptions
    from inceptcli.networks.summary import LayerSummary, StageSummary, Summary
    from inceptcli.weights.metadata import WeightsMetadata

EPILOG = """Examples:

\b
  inceptcli summarize irv2
  inceptcli summarize irv2-tf --depth 2 --image-size 331
  inceptcli summarize runs/flowers --format json
  inceptcli summarize irv2 --figure irv2.svg
  inceptcli summarize iv4 iv4-tf
"""


ORIGIN = (
    "averaged", "epoch", "metrics", "source", "source_sha256", "initialised", "assumed", "unnamed",
    "environment", "inceptcli_version",
)  # fmt: skip
"""What a weights file says of where it comes from."""


def summarize(
    network: Annotated[
        str,
        Argument(
            metavar="NAME|WEIGHTS",
            autocompletion=complete_network_or_weights,
            help="Name of a network (iv4, irv1, irv2, iv4-tf, irv2-tf, irv1-facenet, iv3), a "
            "weights file or run directory, or published weights (imagenet or ens-adv of irv2-tf, "
            "iv4-tf:imagenet; or hf-hub:owner/name[@revision]).",
            show_default=False,
        ),
    ],
    other: Annotated[
        str | None,
        Argument(
            metavar="[OTHER]",
            autocompletion=complete_network_or_weights,
            help="A second network, named likewise: show where the two differ.",
            show_default=False,
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "json"],
        Option("--format", help="Table for people, or JSON with one entry per stage."),
    ] = "table",
    depth: Annotated[
        int, Option(help="Rows of the table: 1 per stage, 2 also per layer.", min=1, max=2)
    ] = 1,
    image_size: Annotated[
        str | None,
        Option(
            metavar="N|HxW",
            help="Side, or height x width, of an image in pixels, at least 75; default: the "
            "weights' own, 299 for a name.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Also draw it like the paper's Figures 9 and 15: .svg, .png or .pdf; one that is "
            "there is replaced. Default: none.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        Option(
            help="Number of classes, for a name only; default: 1000; weights have their own.", min=1
        ),
    ] = None,
) -> None:
    """Show a network's stages, shapes and costs, or where two differ.

    Of two networks the options, stages and boxes that differ are listed, at the image size of the
    first one; of modules that repeat, those like the first are told once.
    """
    if other is not None and (figure is not None or depth == 2):
        raise UsageError("--figure and --depth 2 are for one network; leave OTHER out")
    if figure is not None:
        _check_figure(figure, network)
    given_size = None if image_size is None else image_size_of(image_size)
    options, preprocessing, metadata = _described(network, num_classes)
    if given_size is not None:
        preprocessing = dataclasses.replace(preprocessing, image_size=given_size)
    check_image_size(preprocessing.image_size)

    from inceptcli.networks import summary

    summarized = summary.summarize(options, preprocessing.image_size)
    if other is not None:
        compared = _described(other, num_classes)[0]
        second = summary.summarize(compared, preprocessing.image_size)
        pairs = (network, other), (options, compared), (summarized, second)
        print_difference(*pairs, as_json=output_format == "json")
        return
    if figure is not None:
        _draw(summarized, options, figure)
    if output_format == "json":
        echo(_as_json(summarized, preprocessing, metadata))
    else:
        _print_table(summarized, preprocessing, metadata, with_layers=depth == 2)


def _described(
    network: str, num_classes: int | None
) -> tuple[NetworkOptions, Preprocessing, WeightsMetadata | None]:
    """What a registered name or a weights file describes; a name is looked up first."""
    from inceptcli.networks.registry import NETWORKS, network_options
    from inceptcli.weights.hub import hub_name
    from inceptcli.weights.published import find, preprocessing_of, published_name

    if network in NETWORKS:
        options = network_options(network, num_classes=num_classes)
        return options, preprocessing_of(network), None

    is_name = hub_name(network) is not None or published_name(network) is not None
    if not is_name and not Path(network).exists():
        known = ", ".join(NETWORKS)
        raise UsageError(f"{network}: neither a network nor a weights file; networks: {known}")

    from inceptcli.weights.file import read_metadata

    metadata = read_metadata(find(network, Display().say))
    if num_classes is not None:
        raise UsageError(
            f"--num-classes is for a network's name; {network} has {metadata.network.num_classes}"
        )
    return metadata.network, metadata.preprocessing, metadata


def _check_figure(figure: Path, network: str) -> None:
    from inceptcli.plots.network_figure import SUFFIXES
    from inceptcli.weights.file import WEIGHTS_NAME

    if figure.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--figure {figure}: must end with {', '.join(SUFFIXES)}")
    OutputFiles({"--figure": figure}).check([network, Path(network, WEIGHTS_NAME)])


def _draw(summary: Summary, options: NetworkOptions, figure: Path) -> None:
    from inceptcli.atomic_file import replacing
    from inceptcli.networks.registry import NETWORKS
    from inceptcli.plots.network_figure import draw_network

    title = f"{summary.name}: {NETWORKS[summary.name].title}"
    try:
        with replacing(figure) as temporary:
            draw_network(summary, options, title, temporary, figure.suffix.lower()[1:])
    except OSError as error:
        raise UsageError(f"--figure {figure}: {error.strerror}") from error


def _as_json(
    summary: Summary, preprocessing: Preprocessing, metadata: WeightsMetadata | None
) -> str:
    fields = dataclasses.asdict(summary)
    for stage in fields["stages"]:
        del stage["layers"]
    fields["preprocessing"] = preprocessing.as_dict()
    if metadata is not None:
        fields["weights"] = {name: getattr(metadata, name) for name in ORIGIN}
    return json.dumps(fields, indent=2)


def _print_table(
    summary: Summary,
    preprocessing: Preprocessing,
    metadata: WeightsMetadata | None,
    with_layers: bool,
) -> None:
    from rich.table import Table

    from inceptcli.networks.registry import NETWORKS
    from inceptcli.weights.origin import origin_in_words

    echo(f"{summary.name}: {NETWORKS[summary.name].title} ({summary.layout})")
    if metadata is not None:
        for line in origin_in_words(metadata):
            echo(printable(line))
    height, width = summary.image_size
    echo(f"{summary.num_classes} classes, images of {height}x{width} pixels")
    table = Table(show_footer=True)
    table.add_column("Stage", "Total", no_wrap=True)
    table.add_column("Drawn in, box" if with_layers else "Drawn in")
    table.add_column("Output", no_wrap=True)
    table.add_column("Parameters", f"{summary.parameters:,}", justify="right", no_wrap=True)
    giga = f"{summary.multiply_adds / 1e9:.3f} G"
    table.add_column("Multiply-adds", giga, justify="right", no_wrap=True)
    for stage in summary.stages:
        name = stage.name if stage.repeats == 1 else f"{stage.repeats} x {stage.name}"
        table.add_row(name, stage.figure, *_sizes(stage), style="bold" if with_layers else "")
        for layer in stage.layers:
            if with_layers and layer.name != stage.name:
                table.add_row(f"  {layer.name}", layer.kind, *_sizes(layer))
    results_console().print(table)
    for sentence in preprocessing.in_words():
        echo(sentence)


def _sizes(part: StageSummary | LayerSummary) -> tuple[str, str, str]:
    shape = "x".join(map(str, part.output_shape))
    return shape, f"{part.parameters:,}", f"{part.multiply_adds / 1e6:,.1f} M"
