"""`sweep fetch` copies a remote store here; `sweep compact` merges a store's many small files;
`sweep cluster-file` writes the description of a cluster, `sweep init` a first grid.
"""

import tempfile
from pathlib import Path
from shlex import quote

import click

from orchestrator.commands.options import store_option
from orchestrator.errors import StoreError, UsageError
from orchestrator.words import counted


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    metavar="URI",
    help="The store to copy from; with --cluster, a folder on the cluster's head, absolute or "
    "relative to its checkout.",
)
@store_option
@click.option(
    "--cluster",
    metavar="FILE",
    help="The cluster file that `ray up` was given.",
)
@click.option(
    "--unfinished", is_flag=True, help="Copy finished parts of evaluations under way, too."
)
def fetch(source: str, store_uri: str, cluster: str | None, unfinished: bool) -> None:
    """Copy results from another store, or from a cluster's head, into --store.

    Copies only what is not there yet; run it again while a sweep goes on.
    """
    from orchestrator.store import copying  # pyarrow: not for --help
    from orchestrator.store.store import Store

    store = Store(store_uri)
    if cluster is None:
        done = copying.fetch(source, store, unfinished=unfinished)
    else:
        from orchestrator.cluster.head import Head

        head = Head(cluster)
        folder = head.file.store_on_head(source)
        with tempfile.TemporaryDirectory() as scratch:
            head.copy_folder(folder, scratch)
            try:
                done = copying.fetch(scratch, store, unfinished=unfinished)
            except StoreError as error:
                message = f"{folder} on the head {head.address} holds no results"
                raise StoreError(message) from error
    click.echo(
        f"{counted(done.copied, 'file')} copied to {store_uri}, {done.already_there} there before"
    )


@click.command()
@store_option
def compact(store_uri: str) -> None:
    """Merge the files of a store into few large ones; no row is lost or doubled.

    Files of running drivers and damaged files are left alone. Drivers merge their own files while
    they run, so this is for stores that many launches have written to.
    """
    from orchestrator.store.compaction import compact as merge  # pyarrow: not for --help
    from orchestrator.store.store import Store

    done = merge(Store(store_uri))
    click.echo(f"{store_uri}: {counted(done.files_before, 'file')}, now {done.files_after}")
    for name in done.skipped:
        click.echo(f"  left alone (in use, or damaged): {name}")


@click.command("cluster-file")
@click.option("--head", required=True, metavar="ADDRESS", help="The machine that holds the driver.")
@click.option(
    "--workers",
    required=True,
    metavar="ADDRESS,ADDRESS",
    help="The other machines, separated by commas.",
)
@click.option("--user", required=True, metavar="NAME", help="Whom SSH logs in as, on all of them.")
@click.option(
    "--key",
    default="~/.ssh/sinksweep",
    show_default=True,
    metavar="FILE",
    help="The private key of this cluster; `ray up` copies it to the head.",
)
@click.option(
    "--out",
    default="my-cluster.yaml",
    show_default=True,
    metavar="FILE",
    help="What to write; git does not see the default name.",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def cluster_file(head: str, workers: str, user: str, key: str, out: str, force: bool) -> None:
    """Write the file with which `ray up` makes a cluster of machines that you have.

    Every machine has to let SSH in with the key. `sweep doctor --cluster FILE` checks the result.
    """
    from orchestrator.cluster.cluster_file import filled_in  # yaml: not for --help

    names = [name.strip() for name in workers.split(",") if name.strip()]
    if not names:
        raise UsageError("--workers: names no machine; for the head alone `ray start --head` does")
    text, file = filled_in(head, names, user, key), Path(out)
    if file.exists() and not force:
        raise UsageError(f"--out {out}: is there already; --force replaces it")
    file.write_text(text, encoding="utf-8")
    click.echo(f"{out}: a head and {counted(len(names), 'worker')}")
    click.echo(f"  check it:  sweep doctor --cluster {out}")
    click.echo(f"  start it:  RAY_UP_enable_autoscaler_v2=0 ray up {out}")


@click.command()
@click.option(
    "--model",
    default="demo",
    show_default=True,
    metavar="MODEL",
    help="A Hub id, a local folder, or what else a grid takes.",
)
@click.option(
    "--text",
    default="pydoc",
    show_default=True,
    metavar="PATH_OR_NAME",
    help="A file, a folder or a pattern of your own, or a data set by name.",
)
@click.option(
    "--out", default="grid.yaml", show_default=True, metavar="FILE", help="What to write."
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def init(model: str, text: str, out: str, force: bool) -> None:
    """Write a commented grid for this machine, a model and a text; asks nothing.

    `sweep plan` then says what it would run and cost. Every value is meant to be changed.
    """
    from orchestrator.grid.template import grid_text, has_gpu  # pydantic: not for --help

    file = Path(out)
    if file.exists() and not force:
        raise UsageError(f"--out {out}: is there already; --force replaces it")
    written = grid_text(model, text, out, gpus=int(has_gpu()))
    try:
        file.write_text(written, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror}") from error
    click.echo(f"{out}: written")
    click.echo(f"  price it:  sweep plan --grid {quote(out)}")
    click.echo(f"  run it:    sweep launch --grid {quote(out)}")
