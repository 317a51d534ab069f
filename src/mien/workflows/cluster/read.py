"""Read many images on a Ray cluster: one actor per core, one Parquet file per part, each image once."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mien.core.paths import path_text
from mien.errors import DataError, MienError
from mien.workflows.cluster.actors import PartReader
from mien.workflows.cluster.connection import connected, n_readers, share
from mien.workflows.cluster.parts import Part, PartDone, done_in
from mien.workflows.cluster.places import open_folder, write_whole
from mien.workflows.find import Source
from mien.workflows.read import ReadSettings, build_analyzer

RUN = "run.json"
PART_SIZE = 256
"""Images of a part: what the death of a worker costs at most, and what a file of rows holds."""
LEAST_PARTS = 64
"""Parts of a small run, so that all actors end at about the same time."""
TRIES = 5
"""How often a part is begun whose workers die, as for want of memory, or with their machine."""
ADVICE = "name an empty --out, or delete it to start over"


@dataclass(frozen=True, slots=True)
class RayJob:
    """What is read on a cluster.

    Args:
        folder: Where parts go: a folder or address that every machine reaches.
        settings: How images are read.
        address: Of the cluster; ``auto`` for the one of this machine, ``local`` to start one here.
        actors: How many read at the same time; ``None`` takes all CPUs of the cluster, or all GPUs where
            the settings say ``device="cuda"``.
        resume: Continue the run in ``folder``.
    """

    folder: str
    settings: ReadSettings = field(default_factory=ReadSettings)
    address: str = "auto"
    actors: int | None = None
    resume: bool = False


def read_on_ray(job: RayJob, sources: Sequence[Source]) -> Iterator[PartDone]:
    """Read images by a Ray cluster; their rows lie in ``job.folder`` as Parquet, a file a part.

    A part is written whole, under a name that follows from its paths. So what a killed worker began another
    one does again, a killed driver leaves whole parts, and ``resume`` reads what no part has.

    Args:
        job: See there.
        sources: Images, each once.

    Yields:
        Each part, first those of an earlier run together.

    Raises:
        MienError: the folder holds another run, there is no such cluster, or its workers die again and again.
    """
    card = build_analyzer(job.settings).classifier.card
    with connected(job.address):
        wanted = max(min(PART_SIZE, len(sources) // LEAST_PARTS), 1)
        earlier, done, size = begin_run(job, card.sha256, wanted)
        if earlier.n_images:
            yield earlier
        left = [source for source in sources if path_text(source.name) not in done]
        parts = [Part(tuple(left[start : start + size])) for start in range(0, len(left), size)]
        if parts:
            yield from _read_parts(job, parts, card.labels)


def _read_parts(job: RayJob, parts: Sequence[Part], labels: Sequence[str]) -> Iterator[PartDone]:
    import ray

    device, n_lost = job.settings.device, sum(len(part.sources) for part in parts)
    given = ray.data.from_items([{"part": part.to_text()} for part in parts], override_num_blocks=len(parts))
    read = given.map_batches(
        PartReader,
        fn_constructor_args=(job.settings, job.folder, tuple(labels)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(job.actors or n_readers(device), len(parts))),
        max_task_retries=TRIES - 1,
        **share(device),
    )
    for row in read.iter_rows():
        if row["error"]:
            raise MienError(row["error"])
        part = PartDone(int(row["n_images"]), int(row["n_faces"]), int(row["n_failed"]))
        n_lost -= part.n_images
        yield part
    if n_lost:
        raise MienError(
            f"{n_lost:,} images were not read: the workers that had them died {TRIES} times; continue "
            "with --resume"
        )


def begin_run(job: RayJob, sha256: str, size: int) -> tuple[PartDone, set[str], int]:
    """What an earlier run read, and its images of a part, after a check that it was the same kind of run.

    Parts of the same size hold the same images again, so what a worker of the killed run may still write is
    what the new run writes.
    """
    from pyarrow import fs

    system, folder = open_folder(job.folder)
    identity = json.loads(json.dumps({"model": sha256, "settings": job.settings.identity()}))
    system.create_dir(folder, recursive=True)
    there = system.get_file_info(fs.FileSelector(folder))
    run = f"{folder}/{RUN}"
    if not any(one.base_name == RUN for one in there):
        if any(one.base_name.endswith(".parquet") for one in there):
            raise MienError(f"{job.folder} holds Parquet files of something else; {ADVICE}")
        write_whole(system, run, json.dumps(identity | {"part_size": size}).encode())
        return PartDone(0, 0, 0), set(), size
    if not job.resume:
        raise MienError(f"{job.folder} holds a run already; add --resume to continue, or {ADVICE}")
    try:
        with system.open_input_file(run) as file:
            held = json.loads(file.read())
        differing = [name for name, value in identity.items() if held[name] != value]
        size = max(int(held["part_size"]), 1)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{job.folder}/{RUN} is damaged; {ADVICE}") from error
    if differing:
        raise MienError(f"the stopped run had another {', '.join(differing)}; resume it with the same")
    return *done_in(system, [one.path for one in there if one.base_name.startswith("part-")]), size
