"""Click's part: help, completion, and words for mistakes. Built from the table in options.py; cold path only.

The front door performs every command line that is right. Click reads one only to show a page or to say
what is wrong; that the two agree on what is right is tested row by row.
"""

from __future__ import annotations

import sys

from .. import sitepath
from ..errors import Error
from ..settings import Settings
from .options import (
    CHOICE,
    EACH,
    FLAG,
    GLOBALS,
    HELP,
    HELP_ROWS,
    MANY,
    NUMBER,
    PATH,
    REST,
    SETS,
    SWITCH,
    TEXT,
    TRISTATE,
    TRISTATES,
    USAGE,
    VERSION,
    Verb,
    convert,
    defaults,
)
from .verbs import VERBS

sitepath.enable()
try:
    import click
    from click.shell_completion import CompletionItem
except ImportError as missing:
    raise Error(
        "cannot explain this command line: the Python package `click` is missing", hint="install python3-click"
    ) from missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import Argument, Command, Row, Values

    Resolved = tuple[str | None, click.Command | None, list[str]]

GROUPS = tuple(dict.fromkeys(verb.group for verb in VERBS.values()))
OPTIONS = "[OPTION]…"
PAGES = (HELP, USAGE, VERSION)


class Usage(Error):
    """The command line is wrong; `likely` are words that may have been meant. Exit status 2."""

    def __init__(self, message: str, verb: str = "", likely: list[str] | None = None) -> None:
        if likely:
            message += f"; did you mean {' or '.join(f'`{word}`' for word in likely)}?"
        super().__init__(message, hint=f"try `{' '.join(filter(None, ('pyoci', verb, '--help')))}`", status=2)


def understand(args: list[str]) -> Command | None:
    """Show the page or the completions asked for and return None, or raise Error for a mistake.

    A command line with nothing wrong in it gives what it says, as main.understand() does.
    """
    try:
        result = program().main(joined(args), prog_name="pyoci", standalone_mode=False)
    except click.UsageError as mistake:
        raise explained(mistake) from mistake
    return result if isinstance(result, tuple) else None  # an exit status when a page was shown


def joined(args: list[str]) -> list[str]:
    """Return the words with the value of a TRISTATE or SWITCH after `=`: click would take the next word for it."""
    forms = {form: row[2] for row in GLOBALS for form in row[1]}
    words = []
    todo = args[::-1]
    while todo and todo[-1].startswith("-") and todo[-1] != "--":
        word = todo.pop()
        kind = forms.get(word)
        if kind == TRISTATE:
            word += f"={todo.pop() if todo and todo[-1] in TRISTATES else 'true'}"
        words.append(word)
        if kind in (TEXT, PATH, NUMBER, CHOICE) and todo:
            words.append(todo.pop())
    return words + switched(todo[::-1])


def switched(words: list[str]) -> list[str]:
    """Return a verb's words with the value of each SWITCH option."""
    verb = VERBS.get(words[0]) if words else None
    forms = {form: row[1][-1] for row in verb.options if row[2] == SWITCH for form in row[1]} if verb else {}
    own = next((at for at, word in enumerate(words) if at and not word.startswith("-")), len(words))
    return [f"{forms[word]}=true" if word in forms and at < own else word for at, word in enumerate(words)]


def explained(mistake: click.UsageError) -> Usage:
    """Return click's complaint in the words of the house."""
    verb = mistake.ctx.info_name if mistake.ctx and mistake.ctx.parent else None
    likely = None
    message = mistake.format_message().lower().rstrip(".")
    if isinstance(mistake, click.NoSuchOption):
        message, likely = f"unknown option `{mistake.option_name}`", sorted(mistake.possibilities or ())
    elif isinstance(mistake, click.MissingParameter) and mistake.param:
        message = f"missing argument {mistake.param.metavar}"
    elif isinstance(mistake, click.BadOptionUsage):
        wrong = "takes no value" if "does not take" in mistake.message else "requires an argument"
        message = f"option `{mistake.option_name}` {wrong}"
    return Usage(message, verb or "", likely)


def program() -> click.Group:
    """Return the whole command. It is for one command line: what that says is kept in it."""
    values = defaults(GLOBALS)
    group = Program(
        "pyoci",
        help="Run OCI containers on a machine run by systemd: each is a scope that systemctl shows.",
        epilog="`pyoci COMMAND --help` says more about a command.",
        params=[option(row, values) for row in GLOBALS],
        options_metavar=OPTIONS,
        subcommand_metavar="COMMAND [ARGUMENT]…",
        add_help_option=False,
        no_args_is_help=False,
        context_settings={"max_content_width": 100},
    )
    for verb in VERBS.values():
        group.add_command(command(verb, values))
    return group


class Program(click.Group):
    """The command with its verbs, in groups of what a person wants to do."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Resolved:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            from difflib import get_close_matches

            raise Usage(f"unknown command `{args[0]}`", likely=get_close_matches(args[0], self.commands))
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in GROUPS:
            with formatter.section(group):
                formatter.write_dl([(verb.name, verb.summary) for verb in VERBS.values() if verb.group == group])


class Page(click.Command):
    """A verb and its help page."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(VERBS[str(self.name)].example)


def command(verb: Verb, values: Values) -> click.Command:
    """Return the click command of a verb. Invoked, it returns what the command line says and does nothing."""
    chosen = defaults(verb.options)

    def said(**given: object) -> Command:
        surplus = click.get_current_context().args
        if surplus:
            raise Usage(f"unexpected argument `{surplus[0]}`", verb.name)
        return values, verb.name, {**chosen, **given}

    return Page(
        verb.name,
        callback=said,
        help=f"{verb.summary}\n\n{verb.text}",
        short_help=verb.summary,
        params=[
            *(argument(wanted, verb) for wanted in verb.arguments),
            *(option(row, chosen) for row in (*verb.options, *HELP_ROWS)),
        ],
        options_metavar=OPTIONS,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "allow_interspersed_args": verb.permute},
    )


def argument(wanted: Argument, verb: Verb) -> click.Argument:
    """Return click's form of an argument."""
    dest, name, default = wanted
    complete = {"id": ids, "ids": ids, "bundle": directories, "file": files}.get(dest)
    if default == REST:
        return click.Argument([dest], nargs=-1, type=click.UNPROCESSED, metavar=f"[{name}…]", callback=listed)
    if default == EACH:
        return click.Argument([dest], nargs=-1, metavar=f"[{name}…]", callback=each, shell_complete=complete)
    return click.Argument(
        [dest],
        required=default is None,
        **({} if default is None else {"default": default}),
        type=Word(CHOICE, name, f"`{verb.name}`") if "|" in name else None,
        metavar=name if default is None else f"[{name}]",
        shell_complete=complete,
    )


def listed(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> list[str]:
    """Return the words of an argument as the front door has them."""
    return list(words[1:] if words[:1] == ("--",) else words)


def each(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> list[str]:
    """Return the words of an argument between which options may stand."""
    return list(words)


def option(row: Row, values: Values) -> click.Option:
    """Return click's form of an option, which leaves what it is given in `values`."""
    dest, forms, kind, value, text = row

    def keep(ctx: click.Context, param: click.Parameter, given: object) -> None:
        if given is None or given is False:
            return
        if kind in PAGES:
            sys.stdout.write(page(kind, ctx))
            ctx.exit()
        values[dest] = value if kind == SETS else given
        if kind == MANY and isinstance(given, tuple):
            values[dest] = list(given)

    words = kind not in (FLAG, SETS, *PAGES)
    return click.Option(
        # a name of its own: options that share one would overwrite each other's value
        [*forms, forms[-1].strip("-").replace("-", "_")],
        help=text,
        is_flag=None if words else True,  # for newer clicks False means "takes a value or none"
        multiple=kind == MANY,
        type=Word(kind, value, f"option `{forms[-1]}`") if words else None,
        metavar=(f"[{value}]" if kind in (CHOICE, TRISTATE) else value) if words else None,
        callback=keep,
        expose_value=False,
        is_eager=kind in PAGES,
    )


def page(kind: str, ctx: click.Context) -> str:
    """Return the page an option asks for."""
    if kind == VERSION:
        from . import version

        return version.text(Settings())
    return (ctx.get_help() if kind == HELP else ctx.get_usage()) + "\n"


class Word(click.ParamType):
    """The value of an option, or of an argument, judged by the front door's own rule. `taker` is what takes it."""

    name = "word"

    def __init__(self, kind: str, value: str, taker: str) -> None:
        self.kind = kind
        self.value = value
        self.taker = taker

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        got = convert(self.kind, self.value, str(value))
        if got is not None:
            return got
        takes = "a number from 0 to 2147483647"
        if self.kind in (CHOICE, TRISTATE):
            takes = " or ".join(f"`{word}`" for word in self.value.split("|"))
        elif self.kind == PATH:
            takes = "a path"
        elif self.kind == SWITCH:
            takes = "`true` or `false`"
        verb = ctx.info_name if ctx and ctx.parent else None
        raise Usage(f"{self.taker} takes {takes}, not `{value}`", verb or "")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if self.kind == PATH:
            return [CompletionItem(incomplete, type="dir" if self.value == "DIR" else "file")]
        words = self.value.split("|") if self.kind in (CHOICE, TRISTATE) else []
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a directory."""
    return [CompletionItem(incomplete, type="dir")]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a file."""
    return [CompletionItem(incomplete, type="file")]


def ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the containers there are: each has a directory below the root."""
    from os import scandir

    try:
        with scandir(Settings().root) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except (OSError, Error):
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
