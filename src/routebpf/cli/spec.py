"""`routebpf spec`: the tables of what a program may use."""

from __future__ import annotations

import click

from routebpf.cli.output import print_json, print_table

# By table: the columns that people are shown; --json has all.
_SHOWN = {
    "context": ("name", "type", "offset", "read", "write", "doc"),
    "helpers": ("id", "prototype", "program_types", "gpl_only", "since", "doc"),
    "kfuncs": ("prototype", "since", "doc"),
    "maps": ("number", "name", "since", "helpers", "doc"),
}
_TABLES = tuple(_SHOWN)


@click.command(epilog="Example: routebpf spec helpers --find csum")
@click.argument("tables", nargs=-1, type=click.Choice(_TABLES))
@click.option("--find", metavar="TEXT", help="Only rows that hold this text.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(tables: tuple[str, ...], find: str | None, as_json: bool) -> None:
    """Show what programs of the types LWT_IN, LWT_OUT and LWT_XMIT may use.

    TABLES: context, helpers, kfuncs, maps; all of them where none is named.
    """
    from routebpf.spec.tables import rows

    found = {
        name: [row for row in rows(name) if find is None or find.lower() in str(list(row.values())).lower()]
        for name in tables or _TABLES
    }
    if as_json:
        print_json(found)
        return
    for name, lines in found.items():
        if lines:
            columns = _SHOWN[name]
            print_table(columns, ([_cell(row[column]) for column in columns] for row in lines), title=name)
            click.echo()


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(str(one).removeprefix("LWT_").removeprefix("bpf_") for one in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "-"
    return "" if value is None else str(value)
