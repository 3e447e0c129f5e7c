"""Building blocks of the YAML schemas: frozen mappings that report all errors at once, and strict values.

The message of each check is a remedy; place and value are added where the error is shown.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Self, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llm_service.config.key_paths import no_such

__all__ = [
    "Name",
    "Names",
    "Problem",
    "Strict",
    "Usd",
    "decimal_number",
    "gathered",
    "item_of",
    "list_of",
    "one_or_more",
    "problem",
    "raised",
    "text",
    "unset",
    "whole",
]

Problem = tuple[tuple[str | int, ...], str, object]
"""The path below a mapping, the remedy (or, beginning with `is`, the fault and the remedy), and the value."""

_T = TypeVar("_T")

_MOST_NAME: Final = 256
_MOST_USD: Final = 1_000_000_000
_USD_PLACES: Final = 9
"""Money is stored in whole nano-dollars."""


class Strict(BaseModel):
    """A mapping of known keys.

    All that is wrong with it, and below it, is in one `ValidationError`: types and bounds of its keys, unknown keys,
    and what its keys say against each other.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, populate_by_name=True
    )

    @classmethod
    def clashes(cls, given: Mapping[str, object]) -> Iterable[Problem]:
        """Contradictions between keys. The values are unchecked: of any type, and maybe incomplete."""
        del given
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, value: Any, handler: Callable[[Any], Self]) -> Self:
        problems: list[Problem] = []
        if isinstance(value, Mapping):
            given = cast("Mapping[str, object]", value)
            known = [field.alias or name for name, field in cls.model_fields.items()]  # as written in a file
            problems += [
                ((str(key),), no_such(str(key), known, "key"), given[key])
                for key in given
                if key not in known and key not in cls.model_fields
            ]
            problems += cls.clashes(given)
        return gathered(cls.__name__, lambda: handler(value), problems)


def unset(description: str) -> Any:
    """A key that may be left out, and is None then."""
    return Field(default=None, description=description)


def problem(remedy: str) -> PydanticCustomError:
    """An error for pydantic. Its message is a template, so the remedy is passed as a value."""
    return PydanticCustomError("unusable", "{remedy}", {"remedy": remedy})


def raised(title: str, problems: Iterable[Problem]) -> None:
    """Raise the problems, if any, each at its place below the checked value."""
    details = [_details(*item) for item in problems]
    if details:
        raise ValidationError.from_exception_data(title, details, hide_input=True)


def gathered(title: str, check: Callable[[], _T], problems: Iterable[Problem]) -> _T:
    """The result of a check; its errors are raised together with the known problems."""
    details = [_details(*item) for item in problems]
    try:
        made = check()
    except ValidationError as error:
        found = error.errors(include_url=False)  # `problems` has unknown keys already, with a guess
        details = [_kept(item) for item in found if item["type"] != "extra_forbidden"] + details
    else:
        if not details:
            return made
    raise ValidationError.from_exception_data(title, details, hide_input=True)


def _details(place: tuple[str | int, ...], remedy: str, value: object) -> InitErrorDetails:
    return InitErrorDetails(type=problem(remedy), loc=place, input=value)


def _kept(item: Any) -> InitErrorDetails:
    """An error of a nested level, or pydantic's own with its message as remedy."""
    kind: str = item["type"]
    remedy: str = _REMEDIES.get(kind) or str(item["msg"])
    if kind == "literal_error":
        remedy = f"use {item['ctx']['expected']}".replace("'", "")
    return _details(item["loc"], remedy, item["input"])


_REMEDIES: Final = {
    "missing": "is missing; give it",
    "dict_type": "write a mapping, one `name: ...` a line",
    "model_type": "write a mapping, one `key: value` a line",
    "model_attributes_type": "write a mapping, one `key: value` a line",
    "tuple_type": "write a list",
    "bool_type": "use true or false",
    "bool_parsing": "use true or false",
    "date_type": "write a day as 2026-11-23",
}


def decimal_number(low: int, high: int, places: int, unit: str) -> BeforeValidator:
    """A check for exact numbers: refuses bool and text, and takes a float by its printed digits."""

    def check(value: object) -> object:
        remedy = f"give {unit} from {low:,} to {high:,}, with at most {places} decimals"
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise problem(remedy)
        if not math.isfinite(value) or not low <= value <= high:
            raise problem(remedy)
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        exponent = number.normalize().as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -places:
            raise problem(remedy)
        return number

    return BeforeValidator(check)


def whole(low: int, high: int, unit: str) -> BeforeValidator:
    """A check for integers: refuses bool, text and fractions."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise problem(f"give a whole number of {unit} from {low:,} to {high:,}")
        return value

    return BeforeValidator(check)


def text(what: str) -> Callable[[object], str]:
    """A check for names: 1 to 256 printable characters, without surrounding space."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise problem(f"give {what} as text, in quotes where YAML would read it otherwise")
        if not value or value != value.strip() or len(value) > _MOST_NAME or not value.isprintable():
            raise problem(f"give {what} of 1 to {_MOST_NAME} visible characters, without space around it")
        return value

    return check


def one_or_more(check: Callable[[object], object], what: str) -> BeforeValidator:
    """A check for lists without duplicates; a single value counts as a list of one."""

    def check_all(value: object) -> tuple[object, ...]:
        if value is None or isinstance(value, Mapping):
            raise problem(f"write {what}, or a list of them")
        given, is_list = list_of(value), isinstance(value, list | tuple)
        found: list[object] = []
        seen: set[object] = set()
        problems: list[Problem] = []
        for place, item in enumerate(given):
            try:
                checked = check(item)
            except PydanticCustomError as error:
                problems.append(((place,) if is_list else (), error.message(), item))
                continue
            if checked in seen:
                problems.append(((place,), "it stands there already; keep one", item))
            seen.add(checked)
            found.append(checked)
        raised("list", problems)
        return tuple(found)

    return BeforeValidator(check_all)


def item_of(value: object, key: str) -> Any:
    """A key of a mapping or of a schema object; None if missing."""
    return cast("Mapping[str, object]", value).get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def list_of(value: object) -> list[object]:
    """The given list, or a list of the single given value; empty for None."""
    if isinstance(value, list | tuple):
        return list(cast("list[object]", value))
    return [] if value is None else [value]


Name = Annotated[str, BeforeValidator(text("a name"))]
"""The name of a model, a provider or a policy."""
Names = Annotated[tuple[str, ...], one_or_more(text("a name"), "a name")]
"""Names; a single one needs no list."""
Usd = Annotated[Decimal, decimal_number(0, _MOST_USD, _USD_PLACES, "US dollars")]
"""Money, exact to the nano-dollar."""
