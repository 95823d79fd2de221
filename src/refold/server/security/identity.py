"""Who somebody is, and what they may do."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec

from refold.errors import ConfigurationError

__all__ = ["Access", "Grant", "Identity", "Role", "parsed_grants"]

_SCOPE = re.compile(r"[^\s,:]+")


class Role(enum.Enum):
    """What a grant is for: `reader` looks, `commander` executes commands, `operator` looks after projections (and
    looks at everything).
    """

    READER = "reader"
    COMMANDER = "commander"
    OPERATOR = "operator"


class Grant(msgspec.Struct, frozen=True):
    """A role, everywhere (`scope` None) or for one category of streams, one command, or one read model."""

    role: Role
    scope: str | None = None

    def __str__(self) -> str:
        return self.role.value if self.scope is None else f"{self.role.value}:{self.scope}"


def parsed_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """Grants as they are written in settings and tokens: `reader`, `commander:DepositMoney`, `reader:account`.

    Raises `ConfigurationError` for what is none.
    """
    grants = []
    for text in texts:
        name, colon, scope = text.partition(":")
        if name not in {role.value for role in Role} or (colon and not _SCOPE.fullmatch(scope)):
            raise ConfigurationError(
                f"{text!r} is no role: write reader, commander or operator, or one of the first two for a category, a "
                "command or a read model alone, as in commander:DepositMoney"
            )
        if name == Role.OPERATOR.value and colon:
            raise ConfigurationError(f"{text!r}: an operator looks after everything, so the role has no scope")
        grants.append(Grant(Role(name), scope if colon else None))
    return tuple(dict.fromkeys(grants))


class Access(msgspec.Struct, frozen=True):
    """What an operation asks for: a role (None: whoever is recognised), for one of these scopes at least. `public`:
    nobody is asked who they are.
    """

    role: Role | None
    scopes: tuple[str, ...] = ()
    public: bool = False


class Identity(msgspec.Struct, frozen=True):
    """Somebody who was recognised. `name` is the actor of what they do; `by` says how they were recognised."""

    name: str
    grants: tuple[Grant, ...]
    by: str

    def may(self, access: Access) -> bool:
        """Whether they may do what asks for that."""
        if access.role is None:
            return True
        return any(
            grant.role is access.role and (grant.scope is None or grant.scope in access.scopes) for grant in self._held
        )

    def scopes(self, role: Role) -> frozenset[str] | None:
        """The scopes for which they have a role; None: everything."""
        held = [grant.scope for grant in self._held if grant.role is role]
        return None if None in held else frozenset(scope for scope in held if scope is not None)

    @property
    def _held(self) -> tuple[Grant, ...]:
        if Grant(Role.OPERATOR) in self.grants:
            return (*self.grants, Grant(Role.READER))
        return self.grants
