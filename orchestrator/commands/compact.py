"""`sweep compact`: merge a store's many small files."""

import click

from orchestrator.commands.options import store_option


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
