"""`rtap contracts`: check the Avro schemas offline, register them, explain how a registered one is read."""

from __future__ import annotations

import sys
from itertools import permutations

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.avro.compatibility import check_subject
from rtap_assets.contracts.avro.schemas import load_subject, publication_breaks, subjects


@click.group()
def contracts() -> None:
    """Check and register the Avro schemas in `schemas/`."""


@contracts.command()
@pass_settings
def check(settings: Settings) -> None:
    """Compare all versions of each subject with one another, and published ones with their sums. Needs no registry.

    Exit code 1 when there is a finding.
    """
    findings = []
    for subject in subjects(settings.schemas_dir):
        versions = load_subject(settings.schemas_dir, subject)
        found = check_subject(versions)
        findings += found
        for writer, reader in permutations(versions, 2):
            prefix = f"{subject}: {writer.version} read as {reader.version}"
            broken = any(finding.startswith(f"{prefix}:") for finding in found)
            click.echo(f"{'✗' if broken else '✓'} {prefix}")
        if len(versions) == 1:
            click.echo(f"{'✗' if found else '✓'} {subject}: 1, the only version")
    edited = publication_breaks(settings.schemas_dir)
    click.echo(f"{'✗' if edited else '✓'} published versions are as they were published")
    for finding in findings + edited:
        click.secho(f"finding: {finding}", fg="red", err=True)
    sys.exit(1 if findings or edited else 0)


@contracts.command()
@pass_settings
def register(settings: Settings) -> None:
    """Register every version under its subject, compatibility BACKWARD. A second call changes nothing."""
    from rtap_assets.registry.registration import register_contracts

    for subject, ids in register_contracts(settings).items():
        for version, schema_id in ids.items():
            click.echo(f"{subject}: version {version} has schema id {schema_id}")


@contracts.command()
@click.argument("schema_id", type=click.IntRange(1))
@pass_settings
def explain(settings: Settings, schema_id: int) -> None:
    """Say how records of a schema id are read, or precisely why they are quarantined. Asks the registry.

    Exit code 1 when they are quarantined.
    """
    from rtap_assets.streaming.queries.explaining import explain_schema

    explained = explain_schema(settings, schema_id)
    for line in explained.lines:
        click.echo(line)
    sys.exit(0 if explained.is_read else 1)


@contracts.command()
@click.argument("schema_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Forget all ids: the registry was replaced, and its ids count.")
@pass_settings
def forget(settings: Settings, schema_ids: tuple[str, ...], everything: bool) -> None:
    """Forget what was found of schema ids, so that the registry's answers of now count. Bronze must be stopped.

    Unread records that carry an id of the previous registry are decoded with the schema that the id has now.
    """
    from rtap_assets.streaming.checkpoints.ownership import refuse_a_living_owner
    from rtap_assets.streaming.queries.schema_findings import forget_judgments

    if everything == bool(schema_ids):
        raise click.UsageError("Name the ids, or give --all.")
    refuse_a_living_owner(settings)
    dropped = forget_judgments(settings, None if everything else schema_ids)
    click.echo(f"forgotten: {', '.join(dropped) or 'nothing'}")
