"""Projects and their keys: made, limited, and given other names for models."""

from argparse import ArgumentTypeError, Namespace
from dataclasses import replace

from models import ids
from models.accounts import api_keys, caps, idempotency, naming, projects
from models.commands.command import NAME, Commands, Said, add, opened, words
from models.errors import NotFound
from models.platform.db import Database, premises
from models.platform.vault import Vault
from models.provider import aliases
from models.provider.aliases import Alias
from models.settings import Settings
from models.states import SCOPES
from models.webhooks.signing import new_secret

_MOST = 1_000_000  # jobs in flight: more than any limit of a provider


def add_to(commands: Commands) -> None:
    """Add these commands."""
    project = add(commands, "create-project", _create_project, "create a project; prints its id")
    project.add_argument("name", type=words(NAME))
    key = add(commands, "create-key", _create_key, "create an API key; prints it, once")
    key.add_argument("project", help="the project's name or id")
    key.add_argument("--scope", action="append", required=True, choices=SCOPES)
    key.add_argument("--label", type=words(NAME), default="cli", help="a name to know it by")
    key.add_argument("--key", help="register this key instead of a fresh one")
    fresh = commands.add_parser("new-key", help="print a fresh API key that is registered nowhere")
    fresh.set_defaults(prints=_new_key)
    _add_limits(commands)
    _add_aliases(commands)


def _add_limits(commands: Commands) -> None:
    limit = add(commands, "limit", _limit, "set or show how many jobs a project has in flight")
    limit.add_argument("project", help="the project's name or id")
    limit.add_argument("--in-flight", type=_count_or_none, metavar="N|none", help="of all its jobs")
    limit.add_argument("--per-key", type=_count, metavar="N", help="of those of a concurrency_key")
    keyed = add(
        commands,
        "require-key",
        _require_key,
        "require an Idempotency-Key of all that creates a project's jobs",
    )
    keyed.add_argument("project", help="the project's name or id")
    keyed.add_argument("required", choices=("yes", "no"))


def _add_aliases(commands: Commands) -> None:
    alias = add(commands, "alias", _alias, "give a model another name, for a project's clients")
    alias.add_argument("project", help="the project's name or id")
    alias.add_argument("name", help="what its clients call it, such as gpt-image-1")
    alias.add_argument("model", help="the model's id")
    alias.add_argument("--response-format", choices=("url", "b64_json"), default="url")
    alias.add_argument("--no-scale", dest="scale", action="store_false", help="refuse small sizes")
    named = add(commands, "unalias", _alias, "take such a name away again")
    named.add_argument("project", help="the project's name or id")
    named.add_argument("name")


def _new_key(_: Namespace) -> str:
    return api_keys.new_key()


async def _create_project(database: Database, asked: Namespace, loaded: Settings) -> Said:
    """Create a project, or find the one that has the name; returns its id."""
    vault = Vault.of(loaded)
    async with opened(database) as tx:
        await premises.demand_secret(tx, vault)  # what is sealed now, every role must open
        project_id = await projects.create(tx, vault, asked.name, new_secret())
    return Said(ids.text(ids.PROJECT, project_id))


async def _create_key(database: Database, asked: Namespace, settings: Settings) -> Said:
    """Register a key of a project; returns it, whole, once it is committed."""
    key = asked.key or api_keys.new_key()
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        await api_keys.create_key(tx, project_id, asked.label, tuple(asked.scope), key)
        await caps.demand_room_for_key(tx, project_id, settings.keys_max)
    return Said(key)


async def _limit(database: Database, asked: Namespace, _: Settings) -> Said:
    """Set what is given of a project's caps; returns both."""
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        own = await caps.read(tx, project_id)
        if asked.in_flight is not None:
            own = replace(own, in_flight=asked.in_flight or None)
        if asked.per_key is not None:
            own = replace(own, per_key=asked.per_key)
        await caps.write(tx, project_id, own)
    most = "no cap of its own on" if own.in_flight is None else f"at most {own.in_flight}"
    return Said(
        f"{asked.project}: {most} jobs in flight, at most {own.per_key} per concurrency_key"
    )


async def _require_key(database: Database, asked: Namespace, _: Settings) -> Said:
    """Set whether a project's requests must have an Idempotency-Key; return what to print."""
    required = asked.required == "yes"
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        await idempotency.require(tx, project_id, required=required)
    must = "must have" if required else "may come without"
    return Said(f"{asked.project}: what creates a job {must} an Idempotency-Key")


async def _alias(database: Database, asked: Namespace, _: Settings) -> Said:
    """Set a project's other name for a model, or remove it; returns all names it has then."""
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        names = await naming.read(tx, project_id)
        if asked.command == "unalias" and names.pop(asked.name, None) is None:
            raise NotFound(f"{asked.project} has no alias {asked.name!r}.")
        if asked.command == "alias":
            alias = Alias(asked.model, asked.response_format, scale=asked.scale)
            aliases.judge(asked.name, alias)
            names[asked.name] = alias.dump()
        await naming.write(tx, project_id, names)
    own = ((name, aliases.find(name, names)) for name in sorted(names))
    lines = [
        f"{name}: {each.model} as {each.response_format}"
        + (", small sizes scaled up" if each.scale else "")
        for name, each in own
        if each is not None
    ]
    return Said("\n".join(lines) or f"{asked.project} has no aliases of its own")


def _count_or_none(word: str) -> int:
    """Read a count; 0 stands for `none`."""
    return 0 if word == "none" else _count(word)


def _count(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= _MOST:
        raise ArgumentTypeError(f"{word!r} is not a number from 1 to {_MOST:,}")
    return int(word)
