"""``mien read --ray``: the images of a folder or an object store, on a cluster."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import ray_option
from mien.cli.progress import LINES_EVERY_S
from mien.cli.read_inputs import Inputs
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.workflows.cluster.read import RayJob
    from mien.workflows.find import Source
    from mien.workflows.read import ReadSettings

RayAddress = Annotated[str | None, ray_option("Read", "PATH may be a URL such as s3://bucket/photos.")]


def ray_job(
    address: str,
    out: Sequence[str] | None,
    refused: dict[str, Any],
    settings: "ReadSettings",
    jobs: int | None,
    resume: bool,
) -> "RayJob":
    """What the options of the command say of a cluster.

    Raises:
        MienError: an option is given that one machine alone has, or ``--out`` names no one folder.
    """
    from mien.workflows.cluster.read import RayJob

    given = [option for option, value in refused.items() if value]
    if given:
        raise MienError(f"{given[0]} is not for --ray: rows, those with errors too, go into --out DIR")
    if out is None or len(out) != 1:
        raise MienError("--ray needs one folder or URL for its rows: --out DIR")
    return RayJob(out[0], settings, address, jobs, resume)


def read_by_ray(inputs: Inputs, job: "RayJob") -> None:
    """Read all images; exit code 1 where some could not be read.

    Raises:
        MienError: there is no image, or one is standard input; or see `read_on_ray`.
    """
    from mien.workflows.cluster.places import placed
    from mien.workflows.cluster.read import read_on_ray
    from mien.workflows.find import STDIN

    if STDIN in inputs.paths:
        raise MienError("an image on standard input is not for --ray; name a path that every machine reaches")
    sources = placed(list(_sources(inputs)))
    if all(source.error is not None for source in sources):
        raise MienError(f"nothing to read: {sources[0].error if sources else 'no image was found'}")
    n_images = n_faces = n_failed = 0
    reported_s = monotonic()
    for part in read_on_ray(job, sources):
        n_images += part.n_images
        n_faces += part.n_faces
        n_failed += part.n_failed
        if monotonic() - reported_s >= (1.0 if sys.stderr.isatty() else LINES_EVERY_S):
            reported_s = monotonic()
            typer.echo(f"{n_images:,} of {len(sources):,} images", err=True)
    typer.echo(
        f"{n_images:,} images, {n_faces:,} faces, {n_failed:,} not read; rows in {job.folder}", err=True
    )
    if n_failed:
        raise typer.Exit(1)


def _sources(inputs: Inputs) -> Iterator["Source"]:
    from mien.workflows.cluster.places import images_at, images_listed
    from mien.workflows.find import find_images

    selection = inputs.selection()
    urls, paths = _by_kind(inputs.paths)
    listed_urls, listed = _by_kind(filter(None, inputs.listed()))
    found = chain(
        *(images_at(url, selection) for url in urls),
        images_listed(listed_urls, selection),
        find_images(paths, listed=listed, selection=selection),
    )
    yield from islice(found, inputs.limit)


def _by_kind(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Addresses, and paths of this machine."""
    urls: list[str] = []
    paths: list[str] = []
    for name in names:
        (urls if "://" in name else paths).append(name)
    return urls, paths
