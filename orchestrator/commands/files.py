"""`sweep fetch` copies a remote store here; `sweep compact` merges a store's many small files."""

import click

from orchestrator.commands.options import store_option


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    metavar="URI",
    help="The store to copy from; with --cluster, a folder on the cluster's head.",
)
@store_option
@click.option(
    "--cluster",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
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
        done = copying.fetch_from_head(cluster, source, store, unfinished=unfinished)
    click.echo(
        f"{done.copied} files copied to {store_uri}, {done.already_there} were there already"
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
    click.echo(f"{store_uri}: {done.files_before} files are now {done.files_after}")
    for name in done.skipped:
        click.echo(f"  left alone (in use, or damaged): {name}")
